"""`vsr metrics`: how good clips are, each a video or a folder of images, with a reference or without one."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from itertools import zip_longest
from pathlib import Path

import cv2

from vsr_pipeline.errors import InputError, OutputError, UsageError
from vsr_pipeline.media.images import Pixels, list_frames, read_image, write_png
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.metrics import (
    FrameScores,
    NaturalnessMeter,
    PerceptualMeter,
    Scores,
    VmafMeter,
    draw_curves,
    mean_scores,
    score_frames,
)
from vsr_pipeline.metrics.scores import with_naturalness
from vsr_pipeline.models.efficientnet_lite import EfficientNetLite0Features
from vsr_pipeline.runtime.files import write_text
from vsr_pipeline.runtime.progress import Reporter, counted, reported


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a clip scores, as a whole and frame by frame."""

    distorted: Path
    scores: Scores
    frames: tuple[FrameScores, ...]


def measure(
    reference: Path | None,
    distorted: Sequence[Path],
    *,
    vmaf: bool = True,
    naturalness: bool = False,
    perceptual: EfficientNetLite0Features | None = None,
    csv_file: Path | None = None,
    plot_file: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter,
) -> tuple[Measurement, ...]:
    """Compare clips with a reference; write their scores per frame as a table and as curves where that is wanted.

    Args:
        reference: None: NIQE and BRISQUE alone are measured, which need none.
        distorted: the clips.
        vmaf: measure VMAF, too.
        naturalness: measure NIQE and BRISQUE, too.
        perceptual: measure the perceptual distance by this network, too; it needs a reference.
        csv_file: gets a row for each frame.
        plot_file: gets a curve for each clip.
        overwrite: replace these files where they exist.
        reporter: is told how far the work is.

    Raises:
        UsageError: a file for the scores has another suffix than its format.
        OutputError: such a file exists and `overwrite` is not given, or it cannot be written.
        InputError, ResourceError: as `compare` and `judge`.
    """
    for path, suffix in ((csv_file, ".csv"), (plot_file, ".png")):
        if path and path.suffix.lower() != suffix:
            raise UsageError(f"{path} is to be a {suffix} file: give it that suffix")
        if path and path.exists() and not overwrite:
            raise OutputError(f"{path} exists: give --overwrite to replace it, or another name")
    if reference is None:
        measurements = tuple(judge(path, reporter=reporter) for path in distorted)
    else:
        measurements = tuple(
            compare(reference, path, vmaf=vmaf, naturalness=naturalness, perceptual=perceptual, reporter=reporter)
            for path in distorted
        )
    if csv_file:
        write_csv(csv_file, measurements)
    if plot_file:
        write_png(
            plot_file, draw_curves(list(zip(short_names(distorted), (m.frames for m in measurements), strict=True)))
        )
    return measurements


def compare(
    reference: Path,
    distorted: Path,
    *,
    vmaf: bool = True,
    naturalness: bool = False,
    perceptual: EfficientNetLite0Features | None = None,
    reporter: Reporter,
) -> Measurement:
    """Compare two clips of equally many frames.

    A distorted clip of another size is brought to the reference's first: enlarged by bicubic interpolation, so that an
    LQ clip scores as bicubic would, or shrunk by averaging; so it is for the scores of a sample, too. Where VMAF cannot
    be had, the reporter is told why, and the scores are without it.

    Raises:
        InputError: one cannot be read, the counts of frames differ, or a clip has frames of several sizes.
        ResourceError: the disk is full.
    """
    with ExitStack() as stack:
        truth, copy = _Clip(reference, stack), _Clip(distorted, stack)
        meter = stack.enter_context(VmafMeter(truth.matrix)) if vmaf else None
        pairs = _pairs(truth, copy, reporter)
        frame_count = truth.frame_count or copy.frame_count
        natural = NaturalnessMeter(frame_count) if naturalness else None
        distance = PerceptualMeter(perceptual, frame_count) if perceptual else None
        with reported(reporter, f"metrics {distorted.name}", frame_count):
            frames = score_frames(pairs, meter, partial(reporter.worked, 1.0), naturalness=natural, perceptual=distance)
        if meter and meter.failure:
            reporter.note(f"no VMAF for {distorted}: {meter.failure}")
    if not frames:
        raise InputError(f"{reference} has no frames: there is nothing to compare")
    return _measured(distorted, frames, reporter if naturalness else Reporter())


def judge(path: Path, *, reporter: Reporter) -> Measurement:
    """Measure NIQE and BRISQUE of a clip, on a sample of its frames (see `Sample`), without a reference.

    Raises:
        InputError: it cannot be read, or has no frames.
    """
    with ExitStack() as stack:
        clip = _Clip(path, stack)
        meter = NaturalnessMeter(clip.frame_count)
        frame_count = 0
        with reported(reporter, f"metrics {path.name}", clip.frame_count):
            for index, load in enumerate(clip.frames):
                if meter.wants(index):
                    meter.feed(index, load())
                frame_count += 1
                reporter.worked(1.0)
    if not frame_count:
        raise InputError(f"{path} has no frames: there is nothing to measure")
    frames = with_naturalness([FrameScores()] * frame_count, meter.scores)
    return _measured(path, frames, reporter)


def _measured(path: Path, frames: tuple[FrameScores, ...], reporter: Reporter) -> Measurement:
    scores = mean_scores(frames)
    if scores.niqe is None:
        reporter.note(f"no NIQE for {path}: it needs frames with two blocks of 96x96 pixels that have texture")
    if scores.brisque is None:
        reporter.note(f"no BRISQUE for {path}: it needs frames of 14x14 pixels or more that have texture")
    return Measurement(path, scores, frames)


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the ends of paths, as short as tells them apart: the names alone, where these differ."""
    longest = max(len(path.parts) for path in paths)
    for length in range(1, longest + 1):
        names = [Path(*path.parts[-length:]).as_posix() for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


class _Clip:
    """The frames of a clip, images each read when it is asked for, and what is known before."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.frames: Iterator[Callable[[], Pixels]]
        self.matrix: str | None = None
        self.frame_count = 0  # as far as that is known before the end
        if path.is_dir():
            images = list_frames(path)
            self.frame_count = len(images)
            self.frames = (partial(read_image, image) for image in images)
        else:
            reader = stack.enter_context(VideoReader(path))
            self.frame_count = reader.info.frame_count_from_header or 0
            self.matrix = reader.info.colour.matrix
            self.frames = (partial(getattr, frame, "pixels") for frame in reader)


def _pairs(reference: _Clip, distorted: _Clip, reporter: Reporter) -> Iterator[tuple[Pixels, Pixels]]:
    size: tuple[int, ...] | None = None
    for index, (load_a, load_b) in enumerate(zip_longest(reference.frames, distorted.frames)):
        if load_a is None or load_b is None:
            shorter = reference.path if load_a is None else distorted.path
            raise InputError(
                f"{shorter} ends after {counted(index, 'frame')}, the other goes on: compare clips of equal length"
            )
        a, b = load_a(), load_b()
        if size is None:
            size = a.shape
            if b.shape != size:
                reporter.note(f"{distorted.path} is {_text(b.shape)}: brought to the reference's {_text(size)} first")
        if a.shape != size:
            raise InputError(
                f"frame {index} of {reference.path} is {_text(a.shape)}, the first one {_text(size)}: "
                "all frames of a reference have one size"
            )
        yield a, resized(b, size)


def resized(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Bring a frame to another (height, width, ...): by averaging where it is larger, else by bicubic interpolation."""
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
