"""How fast a GPU is: frames of three sizes, other networks, training, and what `torch.compile` would give."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.report import Check, Found, at_least, at_most
from benchmarks.gpu.setting import Setting
from vsr_pipeline.bench_network import (
    moving_picture,
    peak_flops_per_second,
    product,
    reference,
    seconds_of,
    timed_steps,
)
from vsr_pipeline.enhance.device import Precision
from vsr_pipeline.enhance.frames import enhance_in_memory
from vsr_pipeline.enhance.open_model import checkpoint_of, open_model
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import Steps
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.compact import SRVGGNetCompact
from vsr_pipeline.models.rrdb import RRDBNet
from vsr_pipeline.timeline import ClipSize, Decision

# Goals of the issue that this script was made for; of the H200, at 640x360.
_GOAL_SIZE = (640, 360)
_GOAL_RATIO, _GOAL_OF_PEAK, _GOAL_OF_KERNELS, _GOAL_OF_PLAN = 5.0, 0.45, 0.02, 0.15
_MOST_RUNS = 7


def size(setting: Setting, deadline: float, *, width: int, height: int, frames: int) -> Found:
    """Time the reference path, the product with and without graphs, in turns; and look where its time goes."""
    clip = setting.clip(width, height, frames)
    precision = _fastest(setting, clip)
    spec, upscaler = setting.opened(precision)
    _, plain = setting.opened(precision, cuda_graphs=False)
    facts, checks = _memory(setting, spec, upscaler, clip)
    settings = setting.settings("fp32")
    net = net_for(checkpoint_of(settings)[1]).eval().requires_grad_(False).to(setting.device)
    ways: dict[str, Callable[[], object]] = {
        "reference": partial(reference, net, clip, settings, setting.device),
        "product": partial(product, upscaler, spec, clip),
        "without_graphs": partial(product, plain, spec, clip),
    }
    with FlopCounterMode(display=False) as counter:
        ways["reference"]()
    seconds = _in_turns(ways, setting, deadline)
    peak = peak_flops_per_second(precision, setting.device)
    rate = counter.get_total_flops() / seconds["product"]
    ratio = seconds["reference"] / seconds["product"]
    facts |= {f"{name}_fps": len(clip) / taken for name, taken in seconds.items()}
    facts |= {"precision": precision, "frames": len(clip), "ratio": ratio}
    facts |= {"flops_per_second": rate, "peak_flops_per_second": peak, "share_of_peak": rate / peak}
    facts["milliseconds_a_frame"] = _breakdown(setting, spec, upscaler, clip)
    if setting.on_gpu:
        kernels = _kernel_seconds(ways["product"])
        facts["kernel_milliseconds_a_frame"] = 1000 * kernels / len(clip)
        excess = seconds["product"] / kernels - 1
        checks.append(at_most("time beyond the sum of kernels", excess, _GOAL_OF_KERNELS, is_goal=True))
    if (width, height) == _GOAL_SIZE and not setting.is_tiny:
        checks.append(at_least("times the reference path", ratio, _GOAL_RATIO, is_goal=True))
        checks.append(at_least("of the convolution's peak", rate / peak, _GOAL_OF_PEAK, is_goal=True))
    return Found(facts=facts, checks=checks)


def _fastest(setting: Setting, clip: list[Pixels]) -> Precision:
    """Return the precision of 16 bits that is faster; on a CPU, fp32."""
    seconds: dict[Precision, float] = {}
    for precision in setting.halves:
        spec, upscaler = setting.opened(precision)
        run = partial(product, upscaler, spec, clip[:6])
        run()
        seconds[precision] = seconds_of(run, setting.device)
    return min(seconds, key=lambda precision: seconds[precision], default="fp32")


def _memory(
    setting: Setting, spec: ModelSpec, upscaler: SegmentUpscaler, clip: list[Pixels]
) -> tuple[dict[str, object], list[Check]]:
    """Hold the memory that the product takes against what was planned; on a CPU, only say the plan."""
    height, width = clip[0].shape[:2]
    planned = spec.variants[0].memory_bytes(ClipSize(width, height, len(clip)))
    facts: dict[str, object] = {"planned_bytes": planned}
    setting.free()
    spec.reset_peak_gpu_memory()
    product(upscaler, spec, clip)
    if not setting.on_gpu:
        return facts, []
    free, total = torch.cuda.mem_get_info(setting.device)
    context = total - free - torch.cuda.memory_reserved(setting.device)
    taken = spec.peak_gpu_memory_bytes() + context
    facts |= {"taken_bytes": taken, "context_bytes": context}
    facts["allocated_bytes"] = torch.cuda.max_memory_allocated(setting.device)
    return facts, [
        at_most("memory taken, of the plan", taken / planned, 1.0),
        at_most("plan beyond what is taken", planned / taken - 1, _GOAL_OF_PLAN, is_goal=True),
    ]


def _in_turns(ways: dict[str, Callable[[], object]], setting: Setting, deadline: float) -> dict[str, float]:
    """Return the median seconds of each way, warmed up; as many runs as the time suffices for, two at least."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(1 if setting.is_tiny else _MOST_RUNS):
        started = time.monotonic()
        for name, way in ways.items():
            # As fast as PyTorch is if nothing is set, which is less exact than what the product is compared with.
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=name == "reference"):
                seconds[name].append(seconds_of(way, setting.device))
        if run and time.monotonic() + 2 * (time.monotonic() - started) > deadline:
            break
    return {name: statistics.median(values) for name, values in seconds.items()}


def _breakdown(setting: Setting, spec: ModelSpec, upscaler: SegmentUpscaler, clip: list[Pixels]) -> dict[str, float]:
    parts: dict[str, float] = {}
    with timed_steps(upscaler, parts, setting.device):
        whole = seconds_of(partial(product, upscaler, spec, clip), setting.device)
    parts["transfer"] = whole - sum(parts.values())
    return {name: 1000 * seconds / len(clip) for name, seconds in parts.items()}


def _kernel_seconds(run: Callable[[], object]) -> float:
    """Return the time of all kernels of a run; copies to and from the GPU, which overlap, do not count."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        run()
    events = [event for event in profiled.key_averages() if not event.key.startswith(("Memcpy", "Memset"))]
    return sum(event.self_device_time_total for event in events) / 1e6


def other_models(setting: Setting, deadline: float) -> Found:
    """Time Real-ESRGAN's large and small network, with random weights, which take as long as trained ones."""
    tiny = setting.is_tiny
    torch.manual_seed(0)
    networks = {
        "x4plus": RRDBNet(num_blocks=1, channels=8, growth=4) if tiny else RRDBNet(),
        "animevideov3": SRVGGNetCompact(num_convs=1 if tiny else 16, channels=8 if tiny else 64),
    }
    facts: dict[str, object] = {}
    for name, network in networks.items():
        path = setting.folder / f"{name}.safetensors"
        save_file({key: 0.3 * value for key, value in network.state_dict().items()}, path)
        for width, height in ((320, 180), (640, 360)):
            clip = setting.clip(width, height, 4)
            spec = open_model(setting.settings("fp16" if setting.on_gpu else "fp32", checkpoint=path))
            upscaler = spec.variants[0].build()
            run = partial(enhance_in_memory, upscaler, spec.context, clip, Decision(), spec.scale)
            run()
            seconds = min(seconds_of(run, setting.device) for _ in range(2))
            facts[f"{name}_{width}x{height}_fps"] = len(clip) / seconds
            if time.monotonic() > deadline:
                return Found(facts=facts)
    return Found(facts=facts)


def compiled(setting: Setting, deadline: float) -> Found:
    """Compile the steps of the network with `torch.compile`, and see whether that pays beside graphs."""
    clip = setting.clip(640, 360, 12)
    precision: Precision = "bf16" if setting.on_gpu else "fp32"
    backend = "inductor" if setting.on_gpu else "eager"  # a CPU would need a compiler, and only proves that this runs
    spec, upscaler = setting.opened(precision)
    _, own = setting.opened(precision, cuda_graphs=False)
    steps = own.steps
    compile_step = partial(torch.compile, backend=backend, dynamic=False)
    own.steps = Steps(
        clean=steps.clean,
        compute_flow=steps.compute_flow,
        backward=steps.backward if setting.is_tiny else compile_step(steps.backward),
        forward=compile_step(steps.forward),
        reconstruct=steps.reconstruct if setting.is_tiny else compile_step(steps.reconstruct),
    )
    first = seconds_of(partial(product, own, spec, clip), setting.device)
    ways = {"product": partial(product, upscaler, spec, clip), "compiled": partial(product, own, spec, clip)}
    seconds = _in_turns(ways, setting, deadline)
    return Found(
        facts={
            "precision": precision,
            "backend": backend,
            "first_run_seconds": first,
            "product_fps": len(clip) / seconds["product"],
            "compiled_fps": len(clip) / seconds["compiled"],
            "gain": seconds["product"] / seconds["compiled"],
        }
    )


def training(setting: Setting, deadline: float) -> Found:
    """Train the network on one sequence for 20 seconds."""
    from vsr_pipeline.train.config import RunConfig
    from vsr_pipeline.train.processes import Processes
    from vsr_pipeline.train.trainer import Trainer

    sizes = {"mid_channels": 8, "propagation_blocks": 1, "cleaning_blocks": 1} if setting.is_tiny else {}
    side, frames = (16, 2) if setting.is_tiny else (64, 15)
    config = RunConfig.model_validate(
        {
            "data": {"folders": [str(setting.folder)], "truth_size": 4 * side, "frames": frames, "mirror": False},
            "model": sizes,
            "losses": {"sharpen": False},
            "train": {"precision": "bf16" if setting.on_gpu else "fp32", "device": str(setting.device), "batch": 2},
        }
    )
    trainer = Trainer(config, Processes(config.train.device))
    batch = _training_batch(side, frames)
    losses, ends = [], min(deadline, time.monotonic() + (1 if setting.is_tiny else 20))
    for iteration in range(3):  # what is slow once
        losses.append(trainer.step(batch, iteration, 0)["loss"])
    started, count = time.monotonic(), 0
    while time.monotonic() < ends or count == 0:
        losses.append(trainer.step(batch, 3 + count, 0)["loss"])
        count += 1
    rate = count / (time.monotonic() - started)
    facts = {"steps_per_second": rate, "sequences_a_step": 2, "frames": frames, "truth_size": 4 * side}
    return Found(
        facts=facts | {"first_loss": losses[0], "last_loss": losses[-1]},
        checks=[at_most("the loss after it, of that before", losses[-1] / losses[0], 1.0)],
    )


def _training_batch(side: int, frames: int) -> dict[str, torch.Tensor]:
    """Return two sequences: LQ frames, their clean form, and the truth."""
    pictures = moving_picture(4 * side, 4 * side, frames)
    truth = torch.stack([torch.from_numpy(pixels).permute(2, 0, 1) for pixels in pictures])[None].repeat(2, 1, 1, 1, 1)
    small = torch.nn.functional.avg_pool2d(truth.flatten(0, 1).float(), 4).unflatten(0, (2, frames))
    return {"lq": small.round().to(torch.uint8), "clean": small / 255, "truth": truth}
