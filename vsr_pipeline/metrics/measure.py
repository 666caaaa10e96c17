"""`vsr metrics`: compare two clips, each a video or a folder of images."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from itertools import zip_longest
from pathlib import Path

import cv2

from vsr_pipeline.errors import InputError, OutputError, UsageError
from vsr_pipeline.media.images import Pixels, list_frames, read_image, write_png
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.metrics import FrameScores, Scores, VmafMeter, draw_curves, mean_scores, score_frames
from vsr_pipeline.runtime.files import write_text
from vsr_pipeline.runtime.progress import Reporter, counted, reported


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a clip scores against its reference, as a whole and frame by frame."""

    distorted: Path
    scores: Scores
    frames: tuple[FrameScores, ...]


def measure(
    reference: Path,
    distorted: Sequence[Path],
    *,
    vmaf: bool = True,
    csv_file: Path | None = None,
    plot_file: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter,
) -> tuple[Measurement, ...]:
    """Compare clips with a reference; write their scores per frame as a table and as curves where that is wanted.

    Raises:
        UsageError: a file for the scores has another suffix than its format.
        OutputError: such a file exists and `overwrite` is not given, or it cannot be written.
        InputError, ResourceError: as `compare`.
    """
    for path, suffix in ((csv_file, ".csv"), (plot_file, ".png")):
        if path and path.suffix.lower() != suffix:
            raise UsageError(f"{path} is to be a {suffix} file: give it that suffix")
        if path and path.exists() and not overwrite:
            raise OutputError(f"{path} exists: give --overwrite to replace it, or another name")
    measurements = tuple(compare(reference, path, vmaf=vmaf, reporter=reporter) for path in distorted)
    if csv_file:
        write_csv(csv_file, measurements)
    if plot_file:
        write_png(plot_file, draw_curves([(str(m.distorted), m.frames) for m in measurements]))
    return measurements


def compare(reference: Path, distorted: Path, *, vmaf: bool = True, reporter: Reporter) -> Measurement:
    """Compare two clips of equally many frames.

    A distorted clip of another size is brought to the reference's first: enlarged by bicubic interpolation, so that an
    LQ clip scores as bicubic would, or shrunk by averaging. Where VMAF cannot be had, the reporter is told why, and the
    scores are without it.

    Raises:
        InputError: one cannot be read, the counts of frames differ, or a clip has frames of several sizes.
        ResourceError: the disk is full.
    """
    with ExitStack() as stack:
        truth, copy = _Clip(reference, stack), _Clip(distorted, stack)
        meter = stack.enter_context(VmafMeter(truth.matrix)) if vmaf else None
        pairs = _pairs(truth, copy, reporter)
        with reported(reporter, f"metrics {distorted.name}", truth.frame_count or copy.frame_count):
            frames = score_frames(pairs, meter, partial(reporter.worked, 1.0))
        if meter and meter.failure:
            reporter.note(f"no VMAF for {distorted}: {meter.failure}")
    if not frames:
        raise InputError(f"{reference} has no frames: there is nothing to compare")
    return Measurement(distorted, mean_scores(frames), frames)


class _Clip:
    """The frames of a clip and what is known before they are read."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.frames: Iterator[Pixels]
        self.matrix: str | None = None
        self.frame_count = 0  # as far as that is known before the end
        if path.is_dir():
            images = list_frames(path)
            self.frame_count = len(images)
            self.frames = (read_image(image) for image in images)
        else:
            reader = stack.enter_context(VideoReader(path))
            self.frame_count = reader.info.frame_count_from_header or 0
            self.matrix = reader.info.colour.matrix
            self.frames = (frame.pixels for frame in reader)


def _pairs(reference: _Clip, distorted: _Clip, reporter: Reporter) -> Iterator[tuple[Pixels, Pixels]]:
    size: tuple[int, ...] | None = None
    for index, (a, b) in enumerate(zip_longest(reference.frames, distorted.frames)):
        if a is None or b is None:
            shorter = reference.path if a is None else distorted.path
            raise InputError(
                f"{shorter} ends after {counted(index, 'frame')}, the other goes on: compare clips of equal length"
            )
        if size is None:
            size = a.shape
            if b.shape != size:
                reporter.note(f"{distorted.path} is {_text(b.shape)}: brought to the reference's {_text(size)} first")
        if a.shape != size:
            raise InputError(
                f"frame {index} of {reference.path} is {_text(a.shape)}, the first one {_text(size)}: "
                "all frames of a reference have one size"
            )
        yield a, _resized(b, size)


def _resized(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    if pixels.shape == shape:
        return pixels
    height, width = shape[:2]
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    flag = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(pixels, (width, height), interpolation=flag)  # type: ignore[return-value]


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def write_csv(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write a row for each frame of each clip; a score that a frame does not have is an empty cell.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    names = [field.name for field in fields(FrameScores)]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["distorted", "frame", *names])
    for measurement in measurements:
        for index, frame in enumerate(measurement.frames):
            writer.writerow([measurement.distorted, index, *(getattr(frame, name) for name in names)])
    write_text(path, table.getvalue())
