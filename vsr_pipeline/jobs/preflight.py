"""What a job will need, said before any work: frames, memory, disk, time."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsr_pipeline.build import BuiltUpscaler
from vsr_pipeline.config import Config, EncodeConfig
from vsr_pipeline.errors import ResourceError
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.media.writer import VideoWriter
from vsr_pipeline.timeline import Colour, Segment, Shot, Timeline, VideoInfo
from vsr_pipeline.upscale import SCALE

# Bits per HR pixel that x264 needs at CRF 14 for ordinary footage; every 6 steps of CRF halve it. Film grain and noise
# may take three times as much: the disk that runs full all the same is an error that loses nothing.
_BITS_PER_PIXEL_AT_72 = 0.16
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
        available = f" of {_size(self.memory_available_bytes)}" if self.memory_available_bytes else ""
        lines = [
            f"frames    {self.frame_count} in {self.shots} shots, {self.segments} segments",
            f"size      {self.input_size[0]}x{self.input_size[1]} to {self.output_size[0]}x{self.output_size[1]}",
            f"memory    about {_size(self.memory_bytes)}{available}",
            f"disk      about {_size(self.disk_bytes)} of {_size(self.disk_free_bytes)}",
        ]
        if self.seconds is not None:
            hours, rest = divmod(round(self.seconds), 3600)
            rate = self.frame_count / self.seconds
            lines.append(f"time      about {hours}:{rest // 60:02d}:{rest % 60:02d} ({rate:.2f} frames per second)")
        return "\n".join(lines)


def estimate(
    timeline: Timeline, segments: tuple[Segment, ...], info: VideoInfo, config: Config, folder: Path
) -> Estimate:
    """Work out what a job needs; nothing is measured but the free memory and disk.

    Args:
        timeline: the clip.
        segments: its plan.
        info: its header.
        config: the settings.
        folder: where segments and output go; must exist.
    """
    width, height = info.display_size
    bits_per_pixel = _BITS_PER_PIXEL_AT_72 * 2 ** ((config.encode.quality - 72) / 12)
    picture_bytes = timeline.frame_count * width * height * SCALE**2 * bits_per_pixel / 8
    return Estimate(
        frame_count=timeline.frame_count,
        shots=len(timeline.shots),
        segments=len(segments),
        input_size=(width, height),
        output_size=(SCALE * width, SCALE * height),
        memory_bytes=_memory_bytes(width * height, config),
        memory_available_bytes=available_memory_bytes(),
        # Of the source, sound and other streams go to the output as they are; how large they are is not in its header.
        disk_bytes=round(_COPIES * picture_bytes) + info.path.stat().st_size,
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
    if needed.disk_bytes > needed.disk_free_bytes:
        raise ResourceError(
            f"{folder} has {_size(needed.disk_free_bytes)} free, the job needs about {_size(needed.disk_bytes)}: "
            "free some, or lower the quality with --quality"
        )
    if needed.memory_available_bytes is not None and needed.memory_bytes > needed.memory_available_bytes:
        raise ResourceError(
            f"the job needs about {_size(needed.memory_bytes)} of memory, {_size(needed.memory_available_bytes)} are "
            "free: lower --max-seq-len, or use a GPU"
        )


def seconds_needed(source: Path, timeline: Timeline, built: BuiltUpscaler, encode: EncodeConfig) -> float:
    """Time the model and the encoder on a few small frames of the clip, and scale the slower one to all of it."""
    count = min(_CALIBRATION_FRAMES, timeline.frame_count)
    with VideoReader(source) as reader:
        frames = [_middle(frame.pixels) for frame in reader.read(timeline, 0, count)]
        width, height = reader.info.display_size
    segment = Segment(0, count, 0, count, Shot(0, count))
    passes = built.upscaler.cleaning_passes(frames)
    model_seconds = encoder_seconds = 0.0
    for _ in range(2):  # the first time, libraries prepare themselves
        started = time.perf_counter()
        outputs = list(built.upscaler.upscale(frames, segment, cleaning_passes=passes, on_work=lambda _: None))
        upscaled = time.perf_counter()
        _encode(outputs, encode)
        model_seconds, encoder_seconds = upscaled - started, time.perf_counter() - upscaled
    context = sum(s.context_stop - s.context_start for s in built.upscaler.plan(timeline)) / timeline.frame_count
    slower = max(model_seconds * context, encoder_seconds)  # they work at the same time
    return float(slower * width * height / (frames[0].shape[0] * frames[0].shape[1]) * timeline.frame_count / count)


def _encode(frames: list[Pixels], encode: EncodeConfig) -> None:
    height, width = frames[0].shape[:2]
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoWriter(
            Path(folder) / "calibration.mp4",
            width=width,
            height=height,
            time_base=Fraction(1, 25),
            frame_rate=None,
            colour=Colour(matrix="bt709", range="tv"),
            settings=encode,
        ) as writer,
    ):
        for pts, pixels in enumerate(frames):
            writer.write(pts, pixels, duration=1)


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


def _size(count: int) -> str:
    """Write a number of bytes for people."""
    for unit in ("KiB", "MiB"):
        count_in_unit = count / 1024 ** (1 if unit == "KiB" else 2)
        if count_in_unit < 1024:
            return f"{count_in_unit:.1f} {unit}"
    return f"{count / 1024**3:.1f} GiB"
