"""`vsr degrade`: a clean clip to a spoiled one of a quarter of its width and height, frame for frame."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsr_pipeline.clip.footage import Footage, Header, analyse_clip, footage_of, look_at
from vsr_pipeline.config import EncodeConfig, InputConfig
from vsr_pipeline.degrade.config import DegradationConfig
from vsr_pipeline.degrade.degradation import Degradation
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.antialias import FloatFrame
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.streams.join import check_finished
from vsr_pipeline.media.write.writer import VideoWriter, colour_to_write
from vsr_pipeline.runtime.files import published
from vsr_pipeline.runtime.progress import Reporter, counted, one_line, reported

_SUFFIXES = (".mp4", ".mkv")  # that can hold FFV1
_MIN_SIDE = 64

# Its 10 bits without subsampling give back every 8-bit RGB value exactly.
_LOSSLESS = EncodeConfig(codec="ffv1")


@dataclass(frozen=True, slots=True)
class DegradeResult:
    """The spoiled clip that was made."""

    source: Path
    output: Path
    frame_count: int
    width: int
    height: int
    seed: int

    def __str__(self) -> str:
        return one_line(
            f"{self.output}: {counted(self.frame_count, 'frame')} of {self.width}x{self.height}, seed {self.seed}"
        )


def degrade_clip(
    source: Path,
    output: Path,
    config: DegradationConfig,
    *,
    seed: int = 0,
    overwrite: bool = False,
    reporter: Reporter,
) -> DegradeResult:
    """Spoil a video or a folder of images; the result has the same frames at the same times, and no sound.

    The output is FFV1, which keeps every value of what the degradation gave. Frames stream through: memory does not
    grow with the length. A width or height that is no multiple of 4 loses its last columns or rows first, so that four
    times the result is the rest of the source, pixel for pixel. Images have 25 frames per second.

    Args:
        source: the clean clip, at least 64x64.
        output: `.mp4` for exact timestamps; `.mkv` rounds them to milliseconds.
        config: what to do; one of its chains is drawn for the whole clip.
        seed: of all that is random; the same seed gives the same file.
        overwrite: replace an output that exists.
        reporter: is told about progress.

    Raises:
        InputError: the source cannot be read or is too small.
        OutputError: the output exists, cannot be written, is no video by its suffix, or was written with other frames.
        ResourceError: the disk is full.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{output} ends in {output.suffix!r}: the output is one of {', '.join(_SUFFIXES)}")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists: give --overwrite to replace it, or another name")
    header = look_at(source, InputConfig())
    lq_size = _quarter_of(header, reporter)
    with reported(reporter, f"analyse {source.name}", header.frames_to_analyse):
        analysis = analyse_clip(header, on_frame=lambda: reporter.worked(1.0))
    for note in analysis.notes:
        reporter.note(f"{source.name}: {note}")
    footage = footage_of(header, analysis, every_frame=True)
    count = footage.timeline.frame_count
    with published(output) as temporary, footage.open() as frames:
        clean = (_as_float(pixels[: lq_size[0] * 4, : lq_size[1] * 4]) for pixels in frames.read(0, count))
        spoiled = Degradation(config).stream(clean, lq_size, np.random.default_rng(seed))
        times = _write(temporary, spoiled, footage, lq_size, reporter)
        check_finished(temporary, times, name=output)
    return DegradeResult(source, output, count, lq_size[1], lq_size[0], seed)


def _quarter_of(header: Header, reporter: Reporter) -> tuple[int, int]:
    width, height = header.info.display_size
    if min(height, width) < _MIN_SIDE:
        raise InputError(f"{header.path} is {width}x{height}: a quarter needs at least {_MIN_SIDE}x{_MIN_SIDE}")
    lq_size = (height // 4, width // 4)
    if (height % 4, width % 4) != (0, 0):
        reporter.note(f"{header.path} is {width}x{height}, of which {lq_size[1] * 4}x{lq_size[0] * 4} are used")
    return lq_size


def _write(
    path: Path, frames: Iterator[FloatFrame], footage: Footage, size: tuple[int, int], reporter: Reporter
) -> list[Fraction]:
    """Write the frames; return when each is shown, in seconds."""
    timeline, info = footage.timeline, footage.header.info
    origin = min(0, timeline.pts[0])  # a file has no time before its start
    ends = (*timeline.pts[1:], timeline.pts[-1] + timeline.last_duration)
    # An mp4 says by which matrix FFV1 was made only together with primaries and transfer.
    colour = colour_to_write(info)
    with (
        reported(reporter, f"degrade {info.path.name}", timeline.frame_count),
        VideoWriter(
            path,
            width=size[1],
            height=size[0],
            time_base=timeline.time_base,
            frame_rate=info.average_frame_rate,
            colour=replace(colour, primaries=colour.primaries or "bt709", transfer=colour.transfer or "bt709"),
            sample_aspect_ratio=info.display_aspect_ratio_of_pixels,
            settings=_LOSSLESS,
        ) as writer,
    ):
        for pts, end, frame in zip(timeline.pts, ends, frames, strict=True):
            writer.write(pts - origin, np.rint(frame * 255).astype(np.uint8), duration=end - pts)
            reporter.worked(1.0)
    return [(pts - origin) * timeline.time_base for pts in timeline.pts]


def _as_float(pixels: Pixels) -> FloatFrame:
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
