"""What a job will need, said before any work: frames, memory, disk, time."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.clip.geometry import Geometry, Size
from vsr_pipeline.config import Config, EncodeConfig
from vsr_pipeline.enhance.frames import decide, enhance_frames
from vsr_pipeline.enhance.memory import allowed_bytes, around_model_bytes, first_that_fits, second_encoder_bytes
from vsr_pipeline.enhance.spec import ModelSpec, OnWork, Upscaler
from vsr_pipeline.enhance.steps import steps_for
from vsr_pipeline.errors import ResourceError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.write.writer import VideoWriter, track_suffix
from vsr_pipeline.plan import Schedule
from vsr_pipeline.runtime.memory import available_memory_bytes
from vsr_pipeline.runtime.progress import Reporter, clock_text, counted, reported
from vsr_pipeline.timeline import ClipSize, Colour, Decision, Segment, Shot, Timeline

# Bits per HR pixel that x264 needs at CRF 14 for ordinary footage; every 6 steps of CRF halve it. Film grain and noise
# may take three times as much: the disk that runs full all the same is an error that loses nothing.
_BITS_PER_PIXEL_AT_72 = 0.16
# These two compress each frame alone, and hardly depend on the quality.
_BITS_PER_PIXEL_OF = {"prores": 4.5, "ffv1": 14.0}
# At the end, the joined picture and the output are there at the same time.
_COPIES = 2

_CALIBRATION_FRAMES = 3
_CALIBRATION_SIZE = (96, 160)
# A run that is stopped loses what it has made since the last checkpoint; more than this is said beforehand.
_LONG_LOSS_SECONDS = 300.0
# A state is written before the one before it is deleted.
_STATES = 2
# What takes so long is not measured twice: preparations hardly count in it.
_LONG_SECONDS = 10.0


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
    checkpoint_frames: int
    """A run that is stopped makes at most so many frames again."""
    checkpoint_bytes: int
    """What of the disk is for the states of checkpoints, while a segment is made."""
    seconds: float | None = None

    def __str__(self) -> str:
        available = f" of {_size(self.memory_available_bytes)}" if self.memory_available_bytes else ""
        lines = [
            f"frames    {self.frame_count} in {counted(self.shots, 'shot')}, {counted(self.segments, 'segment')}",
            f"size      {self.input_size[0]}x{self.input_size[1]} to {self.output_size[0]}x{self.output_size[1]}",
            f"memory    about {_size(self.memory_bytes)}{available}",
            f"disk      about {_size(self.disk_bytes)} of {_size(self.disk_free_bytes)}",
        ]
        if self.checkpoint_bytes:
            lines[-1] += f", {_size(self.checkpoint_bytes)} of it for checkpoints"
        if self.seconds is not None:
            hours, rest = divmod(round(self.seconds), 3600)
            rate = self.frame_count / self.seconds
            lines.append(f"time      about {hours}:{rest // 60:02d}:{rest % 60:02d} ({rate:.2f} frames per second)")
            if (loss_seconds := self.checkpoint_frames / rate) > _LONG_LOSS_SECONDS:
                frames = counted(self.checkpoint_frames, "frame")
                lines.append(f"stopping  costs up to {frames} that are made again, about {clock_text(loss_seconds)}")
        return "\n".join(lines)


def estimate(
    spec: ModelSpec,
    geometry: Geometry,
    footage: Footage,
    schedule: Schedule,
    segments: tuple[Segment, ...],
    config: Config,
    folder: Path,
) -> Estimate:
    """Work out what a job needs; nothing is measured but the free memory and disk.

    Args:
        spec: the model.
        geometry: the clip's sizes.
        footage: the clip.
        schedule: when its frames are shown.
        segments: its plan.
        config: the settings.
        folder: where segments and output go; must exist.
    """
    encoded_bytes = picture_bytes(geometry.output_size, len(schedule.pts), config.encode)
    # Of the source, sound and other streams go to the output as they are; how large they are is not in its header.
    other_bytes = 0 if footage.header.images else footage.header.size_bytes
    clip = geometry.of_model(footage.clip_size)
    checkpoints = spec.variants[0].checkpoints(clip)
    longest = max(map(len, segments))
    states_bytes = _STATES * checkpoints.state_bytes if checkpoints and checkpoints.frames < longest else 0
    return Estimate(
        frame_count=len(schedule.pts),
        shots=len(footage.timeline.shots),
        segments=len(segments),
        input_size=geometry.input_size,
        output_size=geometry.output_size,
        memory_bytes=_main_memory_bytes(spec, clip, config),
        memory_available_bytes=available_memory_bytes(),
        disk_bytes=round(_COPIES * encoded_bytes) + other_bytes + states_bytes,
        disk_free_bytes=shutil.disk_usage(folder).free,
        checkpoint_frames=min(checkpoints.frames, longest) if checkpoints else longest,
        checkpoint_bytes=states_bytes,
    )


def picture_bytes(size: Size, frame_count: int, encode: EncodeConfig) -> float:
    """Return about how large the encoded picture gets, without sound.

    Args:
        size: of an HR frame.
        frame_count: how many there are.
        encode: what they are encoded with.
    """
    bits_per_pixel = _BITS_PER_PIXEL_OF.get(encode.codec, _BITS_PER_PIXEL_AT_72 * 2 ** ((encode.quality - 72) / 12))
    return frame_count * size[0] * size[1] * bits_per_pixel / 8


def _main_memory_bytes(spec: ModelSpec, clip: ClipSize, config: Config) -> int:
    """Return the main memory that a run takes: of the variant that it begins with, where that computes in it."""
    if spec.variants[0].is_on_gpu:
        needed, allowed = around_model_bytes(clip, spec.scale), allowed_bytes(None, None)
    else:
        needs = [variant.memory_bytes(clip) for variant in spec.variants]
        allowed = allowed_bytes(config.upscale.memory_limit_bytes, spec.device)
        level = first_that_fits(needs, allowed)
        needed = needs[-1 if level is None else level]
    return needed + (second_encoder_bytes(clip, spec.scale, needed, allowed) or 0)


def refuse_what_cannot_fit(needed: Estimate, folder: Path) -> None:
    """Refuse a job that needs more disk than is free.

    Raises:
        ResourceError: it cannot fit.
    """
    if needed.disk_bytes > needed.disk_free_bytes:
        raise ResourceError(
            f"{folder} has {_size(needed.disk_free_bytes)} free, the job needs about {_size(needed.disk_bytes)}: "
            "free some, or lower the quality with --quality"
        )


def seconds_needed(footage: Footage, geometry: Geometry, spec: ModelSpec, config: Config, reporter: Reporter) -> float:
    """Time the model and the encoder on a few small frames of the clip, and scale the slower one to all of it."""
    timeline = footage.timeline
    count = min(_CALIBRATION_FRAMES, len(timeline.distinct))
    with footage.open() as source:
        frames = [_middle(pixels) for pixels in source.read(0, count)]
    crop = geometry.scaled_to((frames[0].shape[1], frames[0].shape[0]))
    upscaler = spec.variants[0].build()
    if spec.context.decides_slowly:
        reporter.note(f"the time says nothing of the training of {spec.name}, once for each shot")
    decision = Decision() if spec.context.decides_slowly else decide(upscaler, frames, crop)
    with reported(reporter, "measure the speed", 2 * count):
        seconds = seconds_a_frame(
            upscaler,
            frames,
            decision,
            crop,
            config,
            context=context_share(spec, timeline),
            on_work=reporter.worked,
        )
    for note in upscaler.take_notes():
        reporter.note(note)
    return seconds * timeline.frame_count * pixel_ratio(geometry, crop)


def context_share(spec: ModelSpec, timeline: Timeline) -> float:
    """Return how many frames the model is given for each frame of a clip: context counts, repeats do not."""
    return sum(s.context_stop - s.context_start for s in spec.context.segments(timeline)) / timeline.frame_count


def pixel_ratio(geometry: Geometry, crop: Geometry) -> float:
    """Return how many times as many pixels a frame has as a crop of it."""
    (width, height), (crop_width, crop_height) = geometry.input_size, crop.input_size
    return width * height / (crop_width * crop_height)


def seconds_a_frame(
    upscaler: Upscaler,
    frames: Sequence[Pixels],
    decision: Decision,
    crop: Geometry,
    config: Config,
    *,
    context: float,
    on_work: OnWork,
    repeats: int = 2,
) -> float:
    """Return what a frame of a small size takes: the model or the encoder, whichever is slower, for they overlap.

    Args:
        upscaler: the model.
        frames: a few LQ frames of that size.
        decision: that of their shot.
        crop: their sizes.
        config: the settings.
        context: how many frames the model is given for each frame that it makes.
        on_work: is told about progress.
        repeats: how often they are made; the last time counts, because at first libraries prepare themselves.
    """
    count = len(frames)
    steps = steps_for(crop, config.upscale)
    segment = Segment(0, count, 0, count, Shot(0, count))
    model_seconds = encoder_seconds = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        outputs = list(enhance_frames(upscaler, frames, segment, decision, geometry=crop, on_work=on_work, steps=steps))
        upscaled = time.perf_counter()
        _encode(outputs, config.encode)
        model_seconds, encoder_seconds = upscaled - started, time.perf_counter() - upscaled
        if model_seconds > _LONG_SECONDS:
            break
    return max(model_seconds * context, encoder_seconds) / count


def _encode(frames: list[Pixels], encode: EncodeConfig) -> None:
    height, width = frames[0].shape[:2]
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoWriter(
            Path(folder) / f"calibration{track_suffix(encode)}",
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


def _size(count: int) -> str:
    """Write a number of bytes for people."""
    for unit in ("KiB", "MiB"):
        count_in_unit = count / 1024 ** (1 if unit == "KiB" else 2)
        if count_in_unit < 1024:
            return f"{count_in_unit:.1f} {unit}"
    return f"{count / 1024**3:.1f} GiB"
