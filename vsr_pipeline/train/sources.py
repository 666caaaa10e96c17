"""The pictures that a folder has for training: which files are fit, and sequences of truth cut from them.

A still becomes a sequence by a smooth pan, zoom and rotation; of a video a few consecutive frames are taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av.error
import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.colour import SWSCALE_THREADS
from vsr_pipeline.media.images import IMAGE_SUFFIXES, read_image
from vsr_pipeline.media.input import open_input
from vsr_pipeline.media.read.probe import probe

Frames = npt.NDArray[np.uint8]
"""(T, height, width, 3), RGB."""

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"})

_FPS_OF_SILENT_HEADERS = Fraction(25)
_CUT = 24.0
"""Mean difference of two frames at 1/16 of the size, of 255, above which a scene cut lies between them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that training can use."""

    path: Path
    kind: Literal["still", "video"]
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Motion:
    """How a still moves under the camera, in pixels of the truth, radians and factors, for a frame."""

    velocity: tuple[float, float]
    acceleration: tuple[float, float]
    angle: float
    turn: float
    zoom: float


def find_sources(folders: tuple[Path, ...], truth_size: int, on_skip: Callable[[str], None]) -> tuple[Source, ...]:
    """Return the usable files of folders and what is under them, sorted; those that are not fit are named.

    Raises:
        InputError: a folder is missing, or no file is fit.
    """
    sources = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no such folder of training data: {folder}")
        for path in sorted(folder.rglob("*")):
            suffix = path.suffix.lower()
            if path.name.startswith(".") or not path.is_file() or suffix not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                continue
            try:
                sources.append(_checked(path, truth_size))
            except InputError as error:
                on_skip(f"skipped {path}: {error}")
    if not sources:
        named = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"no usable video or image in {named}: at least {truth_size}x{truth_size} pixels and no damage are needed"
        )
    return tuple(sources)


def _checked(path: Path, truth_size: int) -> Source:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        height, width = read_image(path).shape[:2]
        source = Source(path, "still")
    else:
        info = probe(path)
        width, height = info.display_size
        if info.field_order in ("tff", "bff"):
            raise InputError("it is interlaced; de-interlaced copies can be trained on")
        duration = info.duration_seconds_from_header
        if duration is None and info.frame_count_from_header:
            duration = info.frame_count_from_header / (info.average_frame_rate or _FPS_OF_SILENT_HEADERS)
        source = Source(path, "video", float(duration or 0))
        read_span(path, 0.0, 1)  # a header alone does not tell whether anything can be decoded
    if min(width, height) < truth_size:
        raise InputError(f"it has {width}x{height} pixels, the truth needs {truth_size}x{truth_size}")
    return source


def read_still(path: Path) -> Frames:
    """Read an image (H, W, 3) with 8 bits.

    Raises:
        InputError: it cannot be decoded.
    """
    pixels = read_image(path)
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)  # type: ignore[return-value]


def read_span(path: Path, start_seconds: float, count: int) -> Frames:
    """Read `count` consecutive frames of a video from about a time on; fewer where the video ends or its scene does.

    Raises:
        InputError: nothing can be decoded there.
    """
    frames: list[Frames] = []
    before: npt.NDArray[Any] | None = None
    try:
        with open_input(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if start_seconds > 0 and stream.time_base:
                container.seek(int(start_seconds / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time < start_seconds:
                    continue
                rgb = frame.reformat(format="rgb24", threads=SWSCALE_THREADS)
                pixels = rgb.to_ndarray().astype(np.uint8, copy=False)
                small = cv2.resize(pixels, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
                if before is not None and np.mean(cv2.absdiff(small, before)) > _CUT:
                    break
                before = small
                frames.append(pixels)
                if len(frames) == count:
                    break
    except (av.error.FFmpegError, IndexError) as error:
        if not frames:
            raise InputError(f"{path} cannot be decoded at {start_seconds:.1f} s: {error}") from error
    if not frames:
        raise InputError(f"{path} has no frame at {start_seconds:.1f} s")
    return np.stack(frames)


def draw_motion(rng: np.random.Generator) -> Motion:
    """Draw how the camera moves: at rest in one of eight sequences, else up to 8 pixels of the truth a frame.

    It does so slowly more often than fast, as in most footage.
    """
    if rng.random() < 0.125:
        return Motion((0, 0), (0, 0), 0, 0, 0)
    direction, speed = rng.uniform(0, 2 * np.pi), 8 * rng.random() ** 2
    change = speed * rng.uniform(-0.04, 0.04, 2)
    turns, zooms = rng.random() < 0.5, rng.random() < 0.5
    return Motion(
        velocity=(speed * np.cos(direction), speed * np.sin(direction)),
        acceleration=(float(change[0]), float(change[1])),
        angle=rng.uniform(-0.15, 0.15) if turns else 0.0,
        turn=rng.uniform(-0.007, 0.007) if turns else 0.0,
        zoom=rng.uniform(-0.01, 0.01) if zooms else 0.0,
    )


def pan_still(
    still: Frames,
    count: int,
    size: int,
    shrink: float,
    motion: Motion,
    rng: np.random.Generator,
    candidates: int = 1,
) -> Frames:
    """Cut `count` frames (size x size) of a moving camera out of a still (H, W, 3).

    Args:
        still: the picture.
        count: how many frames.
        size: their width and height.
        shrink: pixels of the still for one of the first frame, 1 or more.
        motion: of the camera.
        rng: draws where it begins.
        candidates: so many beginnings are drawn; the one with most detail is taken.

    What shrinks is sampled densely and averaged over the area of a pixel, so that nothing aliases. Where the path does
    not fit into the picture, this is continued by its mirror image.
    """
    times = np.arange(count) - (count - 1) / 2
    centres = np.outer(times, motion.velocity) + 0.5 * np.outer(times**2, motion.acceleration)
    angles = motion.angle + motion.turn * times
    scales = shrink * (1 + motion.zoom * times)
    centres *= shrink
    height, width = still.shape[:2]
    reach = size / 2 * scales.max() * (abs(np.cos(angles)) + abs(np.sin(angles))).max()
    paths = [
        centres + [_start(rng, length, centres[:, axis], reach) for axis, length in enumerate((width, height))]
        for _ in range(candidates)
    ]
    centres = max(paths, key=lambda path: _detail(_around(still, path[count // 2], size * shrink), size))
    dense = int(np.ceil(scales.max() - 1e-6))
    frames = np.empty((count, size, size, 3), np.uint8)
    for n, (centre, angle, scale) in enumerate(zip(centres, angles, scales, strict=True)):
        step = scale / dense  # pixels of the still for one sample
        cos, sin = step * np.cos(angle), step * np.sin(angle)
        middle = (size * dense - 1) / 2
        matrix = np.array(
            [
                [cos, -sin, centre[0] - cos * middle + sin * middle],
                [sin, cos, centre[1] - sin * middle - cos * middle],
            ]
        )
        samples = cv2.warpAffine(
            still,
            matrix,
            (size * dense, size * dense),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        frames[n] = samples if dense == 1 else cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA)
    return frames


def _start(rng: np.random.Generator, length: int, path: npt.NDArray[np.float64], reach: float) -> float:
    """Draw the offset of a path so that it stays inside a length, or put it into the middle where it cannot."""
    low, high = reach - path.min(), length - 1 - reach - path.max()
    return float(rng.uniform(low, high)) if low < high else (low + high) / 2


def _around(still: Frames, centre: npt.NDArray[np.float64], wide: float) -> Frames:
    """What of a picture is less than half of `wide` from a point (x, y)."""
    left, top = np.maximum(np.rint(centre - wide / 2), 0).astype(int)
    return still[top : top + round(wide), left : left + round(wide)]


def _detail(picture: Frames, size: int) -> float:
    """Mean difference between neighbours in a picture, shrunk to `size` pixels."""
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(np.abs(np.diff(small, axis=0)).mean() + np.abs(np.diff(small, axis=1)).mean())


def crop_span(span: Frames, size: int, shrink: float, rng: np.random.Generator, candidates: int = 1) -> Frames:
    """Cut (T, size, size, 3) out of the frames of a video, shrunk by a factor of 1 or more.

    Of so many `candidates`, which are drawn, it is the one with most detail.
    """
    height, width = span.shape[1:3]
    wide = min(round(size * shrink), height, width)
    corners = [(int(rng.integers(height - wide + 1)), int(rng.integers(width - wide + 1))) for _ in range(candidates)]
    cuts = [span[:, top : top + wide, left : left + wide] for top, left in corners]
    cut = max(cuts, key=lambda frames: _detail(frames[len(span) // 2], size))
    if wide == size:
        return cut.copy()
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in cut])
