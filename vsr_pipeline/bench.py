"""`vsr bench`: how fast this machine is, next to a plain implementation and to what its convolutions can do at best.

The reference path is the network as one would write it down: eager, float32, NCHW, the official order of operations,
whole windows. Both paths run in one process, in turns, so that what else the machine does strikes both.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vsr_pipeline import bench_network as network
from vsr_pipeline.config import EncodeConfig, UpscaleConfig
from vsr_pipeline.enhance.device import PRECISIONS
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.open_model import checkpoint_of, note_model, open_model
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import UsageError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.media.write.writer import VideoWriter, track_suffix
from vsr_pipeline.runtime.memory import peak_memory_bytes
from vsr_pipeline.runtime.progress import Reporter, counted
from vsr_pipeline.timeline import Colour

_FRAME_RATE = Fraction(25)


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What was measured; times are medians."""

    ratio: float
    """How many times faster the product is than the reference."""
    psnr_db: float
    """Of the product against the reference, all frames together; infinity is given as 999."""
    fps: float
    reference_fps: float
    flops_per_second: float
    """What the convolutions of the network need, by arithmetic, at the product's fps."""
    peak_flops_per_second: float
    """The most that a 3x3 convolution of 64 channels gave, in the product's precision."""
    max_difference: float
    """Largest difference from the reference, of a full scale of 1, to within 1/65535."""
    model: str
    size: tuple[int, int]
    frames: int
    repeats: int
    peak_memory_bytes: int
    """Of the process, with both paths."""
    peak_gpu_memory_bytes: int
    """Of the product alone; 0 without a CUDA GPU."""
    breakdown: dict[str, float] = field(default_factory=dict)
    """Milliseconds a frame, each part measured by itself; in a run, the parts overlap."""

    def __str__(self) -> str:
        width, height = self.size
        share = self.flops_per_second / self.peak_flops_per_second
        lines = [
            f"model      {self.model}",
            f"clip       {counted(self.frames, 'frame')} of {width}x{height}, "
            f"each path {counted(self.repeats, 'time')}, in turns",
            f"product    {self.fps:.3f} frames per second",
            f"reference  {self.reference_fps:.3f} frames per second",
            f"ratio      {self.ratio:.2f}",
            f"accuracy   {self.psnr_db:.1f} dB against the reference, largest difference {self.max_difference:.1e}",
            f"arithmetic {self.flops_per_second / 1e9:.0f} GFLOP/s, {share:.0%} of a convolution's "
            f"{self.peak_flops_per_second / 1e9:.0f}",
            f"memory     {self.peak_memory_bytes / 1024**2:.0f} MiB"
            + (f", GPU {self.peak_gpu_memory_bytes / 1024**2:.0f} MiB" if self.peak_gpu_memory_bytes else ""),
            "ms a frame " + ", ".join(f"{name} {value:.0f}" for name, value in self.breakdown.items()),
        ]
        return "\n".join(lines)


def bench(
    settings: UpscaleConfig,
    encode: EncodeConfig,
    *,
    size: tuple[int, int],
    frames: int,
    repeats: int,
    reporter: Reporter,
) -> BenchResult:
    """Time the network that the settings name, next to the plain one with the same weights.

    Args:
        settings: the model and how the product runs it.
        encode: what HR frames are encoded with, for the breakdown.
        size: width and height of the LQ frames, which are synthetic: a moving picture with detail.
        frames: length of the clip.
        repeats: how often each path runs.
        reporter: told which run is under way.

    Raises:
        UsageError: the model is no network of ours.
        ModelError, ResourceError: as `open_model`.
    """
    from torch.utils.flop_counter import FlopCounterMode  # half a second, which no other command needs

    spec, upscaler, device = _opened(settings, reporter)
    precision = next(name for name in PRECISIONS if name == spec.precision)
    clip = network.moving_picture(*size, frames)
    gpu_bytes = network.peak_gpu_memory_bytes(spec, upscaler, clip)  # before the reference takes any
    net = net_for(checkpoint_of(settings)[1]).eval().requires_grad_(False).to(device)
    deep = [pixels.astype(np.uint16) * 257 for pixels in clip]
    reference = partial(network.reference, net, settings=settings, device=device)
    product = partial(network.product, upscaler, spec)

    # In lines: a bar that is drawn meanwhile would take time from what is measured.
    reporter.note("warm-up of the plain path")
    with out_of_memory_as_error(), FlopCounterMode(display=False) as counter:
        expected = reference(deep)  # counted, and warmed up
    reporter.note("warm-up of the product")
    difference = (np.stack(product(deep)).astype(np.float64) - np.stack(expected)) / 65535
    reference_taken, taken = _in_turns(partial(reference, clip), partial(product, clip), repeats, device, reporter)
    for note in upscaler.take_notes():
        reporter.note(note)
    reporter.note("each part by itself")
    return BenchResult(
        ratio=reference_taken / taken,
        psnr_db=_psnr_db(difference),
        fps=frames / taken,
        reference_fps=frames / reference_taken,
        flops_per_second=counter.get_total_flops() / taken,
        peak_flops_per_second=network.peak_flops_per_second(precision, device),
        max_difference=float(np.abs(difference).max()),
        model=spec.description,
        size=size,
        frames=frames,
        repeats=repeats,
        peak_memory_bytes=peak_memory_bytes(),
        peak_gpu_memory_bytes=gpu_bytes,
        breakdown=_breakdown(upscaler, spec, device, clip, encode),
    )


def _opened(settings: UpscaleConfig, reporter: Reporter) -> tuple[ModelSpec, SegmentUpscaler, torch.device]:
    """Build the product.

    Raises:
        UsageError: the model is no network of ours.
    """
    spec = open_model(settings)
    upscaler = spec.variants[0].build()
    if not isinstance(upscaler, SegmentUpscaler) or spec.device is None:
        raise UsageError(
            f"vsr bench times networks in exact windows, not {spec.name}: give another --model, "
            "and neither --windows official nor --backend mmedit"
        )
    note_model(spec, reporter)
    return spec, upscaler, spec.device


def _psnr_db(difference: NDArray[np.float64]) -> float:
    """Return the PSNR of a difference of which 1 is the full scale; 999 where there is none."""
    mean_square = float(np.mean(difference**2))
    return -10 * float(np.log10(mean_square)) if mean_square else 999.0


def _in_turns(
    reference: Callable[[], object], product: Callable[[], object], repeats: int, device: torch.device, said: Reporter
) -> tuple[float, float]:
    """Return the median seconds of both paths."""
    seconds: dict[str, list[float]] = {"reference": [], "product": []}
    for repeat in range(repeats):
        said.note(f"run {repeat + 1} of {repeats}, plain")
        # On a GPU as fast as PyTorch is if nothing is set, which is less exact than what the product is compared with.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            seconds["reference"].append(network.seconds_of(reference, device))
        said.note(f"run {repeat + 1} of {repeats}, product")
        seconds["product"].append(network.seconds_of(product, device))
    return statistics.median(seconds["reference"]), statistics.median(seconds["product"])


def _breakdown(
    upscaler: SegmentUpscaler, spec: ModelSpec, device: torch.device, clip: Sequence[Pixels], encode: EncodeConfig
) -> dict[str, float]:
    """Time every part of a run by itself, in milliseconds a frame."""
    parts: dict[str, float] = {}
    with network.timed_steps(upscaler, parts, device):
        started = time.perf_counter()
        outputs = network.product(upscaler, spec, clip)
        whole = time.perf_counter() - started
    parts["transfer"] = whole - sum(parts.values())
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / f"lq{track_suffix(encode)}"
        _timed_encode(clip, small, encode)
        parts["encode"] = _timed_encode(outputs, Path(folder) / f"hr{track_suffix(encode)}", encode)
        started = time.perf_counter()
        with VideoReader(small) as reader:
            decoded = sum(1 for _ in reader)
        parts = {"decode": time.perf_counter() - started} | parts
        assert decoded == len(clip)
    return {name: 1000 * seconds / len(clip) for name, seconds in parts.items()}


def _timed_encode(frames: Sequence[Pixels], path: Path, encode: EncodeConfig) -> float:
    started = time.perf_counter()
    height, width = frames[0].shape[:2]
    with VideoWriter(
        path,
        width=width,
        height=height,
        time_base=1 / _FRAME_RATE,
        frame_rate=_FRAME_RATE,
        colour=Colour(matrix="bt709", range="tv"),
        settings=encode,
    ) as writer:
        for pts, pixels in enumerate(frames):
            writer.write(pts, pixels, duration=1)
    return time.perf_counter() - started
