"""What a job will need, said before any work: frames, memory, disk, time."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsr_pipeline.build import BuiltUpscaler
from vsr_pipeline.config import Config
from vsr_pipeline.errors import ResourceError
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.timeline import Segment, Shot, Timeline
from vsr_pipeline.upscale import SCALE

# Bits per HR pixel that x264 needs at CRF 14 for ordinary footage; every 6 steps of CRF halve it. Film grain and noise
# may take three times as much: the disk that runs full all the same is an error that loses nothing.
_BITS_PER_PIXEL_AT_14 = 0.16
# At the end, the joined picture and the output are there at the same time.
_COPIES = 2

# Samples for each LQ pixel while a frame is reconstructed: three feature maps of 64 channels at the size of the output.
# Measured on the CPU as peak memory over size of the frame: 6.6 kB in bf16, 12.8 kB in fp32 with windows of 2 frames.
_HR_FEATURES = 64 * SCALE**2 * 3.1
_PROCESS_BYTES = 400 * 1024**2

_CALIBRATION_FRAMES = 3
_CALIBRATION_SIZE = (96, 160)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will need; bytes are rough, `seconds` is None where it was not measured."""

    frame_count: int
    shots: int
    segments: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    memory_bytes: int
    memory_available_bytes: int | None
    disk_bytes: int
    disk_free_bytes: int
    seconds: float | None = None

    def __str__(self) -> str:
        gib = 1024**3
        available = f" of {self.memory_available_bytes / gib:.1f}" if self.memory_available_bytes else ""
        lines = [
            f"frames    {self.frame_count} in {self.shots} shots, {self.segments} segments",
            f"size      {self.input_size[0]}x{self.input_size[1]} to {self.output_size[0]}x{self.output_size[1]}",
            f"memory    about {self.memory_bytes / gib:.1f}{available} GiB",
            f"disk      about {self.disk_bytes / gib:.2f} of {self.disk_free_bytes / gib:.1f} GiB",
        ]
        if self.seconds is not None:
            hours, rest = divmod(round(self.seconds), 3600)
            rate = self.frame_count / self.seconds
            lines.append(f"time      about {hours}:{rest // 60:02d}:{rest % 60:02d} ({rate:.2f} frames per second)")
        return "\n".join(lines)


def estimate(
    timeline: Timeline, segments: tuple[Segment, ...], size: tuple[int, int], config: Config, folder: Path
) -> Estimate:
    """Work out what a job needs; nothing is measured but the free memory and disk.

    Args:
        timeline: the clip.
        segments: its plan.
        size: (width, height) of the LQ frames.
        config: the settings.
        folder: where segments and output go; must exist.
    """
    width, height = size
    bits_per_pixel = _BITS_PER_PIXEL_AT_14 * 2 ** ((14 - config.encode.crf) / 6)
    hr_pixels = width * height * SCALE**2
    return Estimate(
        frame_count=timeline.frame_count,
        shots=len(timeline.shots),
        segments=len(segments),
        input_size=size,
        output_size=(SCALE * width, SCALE * height),
        memory_bytes=_memory_bytes(width * height, config),
        memory_available_bytes=available_memory_bytes(),
        disk_bytes=round(_COPIES * timeline.frame_count * hr_pixels * bits_per_pixel / 8),
        disk_free_bytes=shutil.disk_usage(folder).free,
    )


def _memory_bytes(pixels: int, config: Config) -> int:
    """Main memory of a run on the CPU, from the arithmetic of the network; a run on a GPU needs less."""
    if config.upscale.model == "bicubic-x4":
        return _PROCESS_BYTES + pixels * SCALE**2 * 3 * 12
    sample = 4 if config.upscale.precision == "fp32" else 2
    # Twice the features themselves: the allocator keeps what flows and warped copies needed in between.
    window = 2 * config.upscale.max_seq_len * 64 * sample + (config.upscale.max_seq_len + config.upscale.lookahead) * 28
    return round(_PROCESS_BYTES + pixels * (window + _HR_FEATURES * sample + SCALE**2 * 3 * 12))


def refuse_what_cannot_fit(needed: Estimate, folder: Path) -> None:
    """Refuse a job that needs more disk than is free, or more memory than there is.

    Raises:
        ResourceError: it cannot fit.
    """
    gib = 1024**3
    if needed.disk_bytes > needed.disk_free_bytes:
        raise ResourceError(
            f"{folder} has {needed.disk_free_bytes / gib:.2f} GiB free, the job needs about "
            f"{needed.disk_bytes / gib:.2f}: free some, or lower the quality with --crf"
        )
    if needed.memory_available_bytes is not None and needed.memory_bytes > needed.memory_available_bytes:
        raise ResourceError(
            f"the job needs about {needed.memory_bytes / gib:.1f} GiB of memory, "
            f"{needed.memory_available_bytes / gib:.1f} are free: lower --max-seq-len, or use a GPU"
        )


def seconds_needed(source: Path, timeline: Timeline, built: BuiltUpscaler) -> float:
    """Time the model on a few small frames of the clip, and scale that to all of it."""
    count = min(_CALIBRATION_FRAMES, timeline.frame_count)
    with VideoReader(source) as reader:
        frames = [_middle(frame.pixels) for frame in reader.read(timeline, 0, count)]
        width, height = reader.info.display_size
    segment = Segment(0, count, 0, count, Shot(0, count))
    passes = built.upscaler.cleaning_passes(frames)
    taken = []
    for _ in range(2):  # the first time, libraries prepare themselves
        started = time.perf_counter()
        for _ in built.upscaler.upscale(frames, segment, cleaning_passes=passes, on_work=lambda _: None):
            pass
        taken.append(time.perf_counter() - started)
    seconds_per_pixel = taken[-1] / (count * frames[0].shape[0] * frames[0].shape[1])
    context = sum(s.context_stop - s.context_start for s in built.upscaler.plan(timeline)) / timeline.frame_count
    return float(seconds_per_pixel * width * height * timeline.frame_count * context)


def _middle(pixels: Pixels) -> Pixels:
    top, left = (max(0, (pixels.shape[i] - _CALIBRATION_SIZE[i]) // 2) for i in (0, 1))
    return np.ascontiguousarray(pixels[top : top + _CALIBRATION_SIZE[0], left : left + _CALIBRATION_SIZE[1]])  # type: ignore[return-value]


def available_memory_bytes() -> int | None:
    """Memory that can be used without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
