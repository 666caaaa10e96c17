"""Whether a GPU computes what it should: goldens, precisions, graphs, memory that runs out, long streams."""

import hashlib
import os
import platform
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.gpu.report import Check, Found, at_least, at_most, holds
from benchmarks.gpu.setting import Setting
from tests.support.networks import CASES, golden_net, largest_differences
from tests.support.small_device import SmallDevice, psnr
from tests.support.upscaling import segment, upscale_whole, worst
from vsr_pipeline.enhance.device import describe
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_network import prepare
from vsr_pipeline.media.images import Pixels

_GOLDEN_LIMIT = 1e-4
_LEAST_DB = {"fp32": 60.0, "fp16": 45.0, "bf16": 35.0}
# Of what the first attempt takes: the shares that are then allowed.
_LADDER = (0.8, 0.5, 0.3)
# A tiny network takes nearly all of it for what shorter windows do not save.
_TINY_LADDER = (0.998,)


def device(setting: Setting) -> Found:
    """Say what computes."""
    facts = {
        "device": describe(setting.device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu_count": os.cpu_count(),
        "system": platform.platform(),
    }
    if setting.on_gpu:
        properties = torch.cuda.get_device_properties(setting.device)
        facts |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
        }
    return Found(facts=facts)


@torch.inference_mode()
def goldens(setting: Setting) -> Found:
    """Hold float32 against outputs of the official implementation."""
    checks = []
    for name, case in list(CASES.items())[: 1 if setting.is_tiny else None]:
        net = golden_net(case)
        prepare(net, device=setting.device, precision="fp32")
        differences = largest_differences(
            name, lambda window, net=net, **options: _on_cpu(net, window, options, setting)
        )
        checks += [at_most(f"{name}, {part}", value, _GOLDEN_LIMIT) for part, value in differences.items()]
    return Found(checks=checks)


def _on_cpu(net: torch.nn.Module, window: torch.Tensor, options: dict[str, object], setting: Setting) -> object:
    outputs = net(window.to(setting.device), **options)
    return outputs.cpu() if isinstance(outputs, torch.Tensor) else tuple(x.cpu() for x in outputs)


def precisions(setting: Setting) -> Found:
    """Compare precisions with float32 on a CPU, and graphs with computing step by step."""
    clip = setting.clip(160, 90, 6)
    on_cpu = replace(setting, device=torch.device("cpu"))
    expected = on_cpu.upscaled(clip, "fp32")
    checks: list[Check] = []
    for precision in ("fp32", *setting.halves):
        outputs = setting.upscaled(clip, precision)
        checks.append(at_least(f"{precision} against fp32 on a CPU, dB", _db(outputs, expected), _LEAST_DB[precision]))
        plain = setting.upscaled(clip, precision, cuda_graphs=False)
        checks.append(at_most(f"{precision}: graphs against none, levels", worst(outputs, plain), 0))
    deep = [pixels.astype(np.uint16) * 257 for pixels in clip]
    levels = worst([pixels >> 8 for pixels in setting.upscaled(deep, "fp32")], expected)
    return Found(checks=[*checks, at_most("16 bits against 8, levels of 8 bits", levels, 1)])


def _db(a: list[Pixels], b: list[Pixels]) -> float:
    return min(float(psnr(a, b)), 999.0)


def memory(setting: Setting) -> Found:
    """Let memory really run out, at less and less of what is wanted; every frame has to come all the same."""
    settings = setting.settings("fp32", max_seq_len=20)
    clip = setting.clip(640, 360, 24, tiny_frames=12)
    spec = open_model(settings)
    taken, whole = _taken(setting, clip)
    facts, checks = {"bytes_of_the_first_attempt": taken}, []
    for share in _TINY_LADDER if setting.is_tiny else _LADDER:
        setting.free()
        limited = spec
        if setting.on_gpu:
            total = torch.cuda.get_device_properties(setting.device).total_memory
            torch.cuda.set_per_process_memory_fraction(share * taken / total, setting.device)
        else:
            limited = replace(spec, variants=tuple(_small(variant, share * taken) for variant in spec.variants))
        started = time.perf_counter()
        try:
            outputs, notes = Fallback(limited).run(segment(), lambda upscaler: upscale_whole(upscaler, clip))
        finally:
            if setting.on_gpu:
                torch.cuda.set_per_process_memory_fraction(1.0, setting.device)
        facts[f"{share:.0%}_seconds"], facts[f"{share:.0%}_notes"] = time.perf_counter() - started, list(notes)
        checks.append(holds(f"all frames at {share:.0%}", len(outputs) == len(clip)))
        checks.append(at_least(f"against whole windows at {share:.0%}, dB", _db(outputs, whole), 40))
    return Found(facts=facts, checks=checks)


def _taken(setting: Setting, clip: list[Pixels]) -> tuple[int, list[Pixels]]:
    """Return how much memory the first variant takes for a clip, and what it makes of it."""
    spec = open_model(setting.settings("fp32", max_seq_len=20))
    if not setting.on_gpu:
        small = SmallDevice(spec.variants[0].build(), None)
        return (outputs := upscale_whole(small, clip)) and small.peak, outputs
    spec.reset_peak_gpu_memory()
    outputs = upscale_whole(spec.variants[0].build(), clip)
    return spec.peak_gpu_memory_bytes(), outputs


def _small(variant: object, limit: float) -> object:
    return replace(variant, build=lambda: SmallDevice(variant.build(), limit))


def stream(setting: Setting) -> Found:
    """Upscale a long clip twice: copies that overlap with computing must not change a byte."""
    clip = setting.clip(320, 180, 100)
    hashes = []
    for _ in range(2):
        digest = hashlib.sha256()
        for pixels in setting.upscaled(clip, *setting.halves[:1] or ("fp32",)):
            digest.update(pixels)
        hashes.append(digest.hexdigest())
    return Found(
        facts={"frames": len(clip), "sha256": hashes[0]}, checks=[holds("the same bytes", len(set(hashes)) == 1)]
    )
