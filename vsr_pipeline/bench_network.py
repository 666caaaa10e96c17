"""How fast a network is on a device, beside the plain one: what `vsr bench` and `benchmarks/gpu` are made of.

Nothing here reads or writes files, so that it runs where PyAV is not installed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.cuda_graphs import Step
from vsr_pipeline.enhance.device import Precision
from vsr_pipeline.enhance.frames import enhance_in_memory
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import Steps
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.enhance.transfer import DTYPES, to_pixels, to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

_PEAK_SIZE = (180, 320)
_PEAK_CHANNELS = 64


def moving_picture(width: int, height: int, frames: int) -> list[Pixels]:
    """Return frames (height, width, 3), uint8, of a picture with detail at all scales that moves 2 pixels a frame."""
    generator = np.random.default_rng(0)
    margin = 2 * frames
    picture = np.zeros((height + margin, width + margin, 3), np.float32)
    for octave in range(6):
        step = 2**octave
        rows, columns = (-(-length // step) for length in picture.shape[:2])
        coarse = generator.standard_normal((rows, columns, 3), dtype=np.float32) * step**0.5
        picture += coarse.repeat(step, 0).repeat(step, 1)[: picture.shape[0], : picture.shape[1]]
    picture = np.clip(128 + picture * (40 / picture.std()), 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(picture[2 * k : 2 * k + height, k : k + width]) for k in range(frames)]


@torch.inference_mode()
def reference(
    net: BasicVSRNet | RealBasicVSRNet, clip: Sequence[Pixels], settings: UpscaleConfig, device: torch.device
) -> list[Pixels]:
    """Upscale a clip as one would write it down: whole windows, cleaned once."""
    outputs: list[Pixels] = []
    for start in range(0, len(clip), settings.max_seq_len):
        window = clip[start : start + settings.max_seq_len]
        frames_NTCHW = torch.cat([to_tensor(pixels, device) for pixels in window])[None].contiguous()
        once = {"refine_threshold": 255.0} if isinstance(net, RealBasicVSRNet) else {}
        upscaled = net(frames_NTCHW, **once)
        outputs += [to_pixels(frame[None], window[0].dtype) for frame in upscaled[0]]
    return outputs


def product(upscaler: SegmentUpscaler, spec: ModelSpec, clip: Sequence[Pixels]) -> list[Pixels]:
    """Upscale a clip without a cut, cleaned once, as the reference does."""
    return enhance_in_memory(upscaler, spec.context, clip, cleaned(1), spec.scale)


def peak_gpu_memory_bytes(spec: ModelSpec, upscaler: SegmentUpscaler, clip: Sequence[Pixels]) -> int:
    """Measure the most GPU memory that the product has in use; 0, and nothing is run, without a CUDA GPU."""
    if spec.peak_gpu_memory_bytes() == 0:  # with one, the weights are there
        return 0
    spec.reset_peak_gpu_memory()
    product(upscaler, spec, clip)
    return spec.peak_gpu_memory_bytes()


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes, what it leaves for the device to do included."""
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def peak_flops_per_second(precision: Precision, device: torch.device) -> float:
    """Measure the best rate of a 3x3 convolution of 64 channels."""
    dtype = DTYPES[precision]
    convolution = torch.nn.Conv2d(_PEAK_CHANNELS, _PEAK_CHANNELS, 3, padding=1).to(device, dtype)
    convolution = convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = 8 if device.type == "cuda" else 1
    x = torch.randn((batch, _PEAK_CHANNELS, *_PEAK_SIZE), device=device, dtype=dtype)
    x = x.to(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(6):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(4):
            convolution(x)
        synchronize(device)
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * 9 * _PEAK_CHANNELS**2 * x.numel() / _PEAK_CHANNELS / best


@contextmanager
def timed_steps(upscaler: SegmentUpscaler, parts: dict[str, float], device: torch.device) -> Iterator[None]:
    """Add the seconds that each step of a network takes to `parts`, by the step's name."""
    steps = upscaler.steps
    upscaler.steps = Steps(
        clean=_stopwatch(steps.clean, parts, "cleaning", device) if steps.clean else None,
        compute_flow=_stopwatch(steps.compute_flow, parts, "flow", device),
        backward=_stopwatch(steps.backward, parts, "backward", device),
        forward=_stopwatch(steps.forward, parts, "forward", device),
        reconstruct=_stopwatch(steps.reconstruct, parts, "upsample", device),
    )
    try:
        yield
    finally:
        upscaler.steps = steps


def _stopwatch(step: Step, parts: dict[str, float], name: str, device: torch.device) -> Step:
    parts[name] = 0.0

    def timed(*arguments: Tensor | int | None) -> Tensor:
        synchronize(device)
        started = time.perf_counter()
        result = step(*arguments)
        synchronize(device)
        parts[name] += time.perf_counter() - started
        return result

    return timed
