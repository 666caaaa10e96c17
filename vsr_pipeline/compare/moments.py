"""Which moments of a clip tell most about a model, and which part of the frame is shown of them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.clip.geometry import Size
from vsr_pipeline.enhance.face_finder import Face, FaceFinder
from vsr_pipeline.errors import UsageError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.streams.mux import origin_ticks
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.runtime.progress import Reporter, reported
from vsr_pipeline.timeline import Shot, Timeline

LARGEST_CROP = (96, 72)
"""What is shown of a frame at most, in LQ pixels."""
_COUNT = 3
_SAMPLES = 32
# Of 255. What is darker is a fade, and shows nothing.
_LEAST_LUMA = 12
# Frames that are nearer to each other look much alike.
_NEAR_FRAMES = 12

Map = npt.NDArray[Any]
"""(H, W), float32."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a frame, in LQ pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The column after the last one."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The row after the last one."""
        return self.top + self.height

    def grown(self, margin: int, size: Size) -> "Box":
        """Return the part with so much more around it as the frame has, up to `margin`."""
        left, top = max(0, self.left - margin), max(0, self.top - margin)
        right, bottom = min(size[0], self.right + margin), min(size[1], self.bottom + margin)
        return Box(left, top, right - left, bottom - top)

    def within(self, other: "Box") -> "Box":
        """Return the same part, counted from the corner of another one."""
        return Box(self.left - other.left, self.top - other.top, self.width, self.height)

    def aligned(self) -> "Box":
        """Return the part from where a codec's block begins, so that its traces are found as in whole frames."""
        left, top = self.left - self.left % 8, self.top - self.top % 8
        return Box(left, top, self.right - left, self.bottom - top)


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of a clip, and the part of it that is shown.

    Attributes:
        title: why it was chosen, for people.
        index: of the frame, among the distinct ones of the footage.
        seconds: when it is shown, as a player counts.
        crop: what is shown of it.
    """

    title: str
    index: int
    seconds: Fraction
    crop: Box


@dataclass(frozen=True, slots=True)
class _Sample:
    """A frame that was looked at.

    Attributes:
        index: which frame it is.
        detail: for each pixel, how much detail a crop around it has; less than 0 where no crop fits.
        shadow: the same, as much more as the crop is darker.
        luma: mean of the frame, 0 to 255.
        face: the largest one.
    """

    index: int
    detail: Map
    shadow: Map
    luma: float
    face: Face | None

    @property
    def most_detail(self) -> float:
        return float(self.detail.max())


def choose_moments(footage: Footage, reporter: Reporter) -> tuple[Moment, ...]:
    """Return up to three moments: a face, the most detail, the darkest; without a face, one of ordinary detail.

    Frames evenly spread over the clip are looked at. Fewer moments are returned where a clip has no more to show.

    Raises:
        InputError: a frame cannot be read.
        ModelError: the network that finds faces is damaged.
    """
    samples = _samples(footage, sample_indices(Shot(0, len(footage.timeline.distinct)), _SAMPLES), reporter)
    faces = [sample for sample in samples if sample.face is not None]
    by_detail = sorted(samples, key=lambda sample: -sample.most_detail)
    visible = [sample for sample in samples if sample.luma >= _LEAST_LUMA] or samples
    middle = by_detail[len(by_detail) // 2].most_detail
    wanted = {
        "a face": sorted(faces, key=lambda sample: -sample.face.width if sample.face else 0)[:1],
        "most detail": by_detail,
        "dark": sorted(visible, key=lambda sample: sample.luma),
        "ordinary detail": sorted(samples, key=lambda sample: abs(sample.most_detail - middle)),
    }
    moments: list[Moment] = []
    for title, ordered in wanted.items():
        crops = ((one, _crop(one, title, moments)) for one in ordered)
        sample, crop = next(((one, crop) for one, crop in crops if crop is not None), (None, None))
        if sample is not None and crop is not None and len(moments) < _COUNT:
            moments.append(Moment(title, sample.index, _seconds(footage, sample.index), crop))
    return tuple(sorted(moments, key=lambda moment: moment.index))


def moments_at(footage: Footage, times: Sequence[Fraction], reporter: Reporter) -> tuple[Moment, ...]:
    """Return the frames that are shown at some times, in seconds as a player counts.

    Raises:
        UsageError: a time is behind the end of the clip.
        InputError: a frame cannot be read.
    """
    clip = footage.timeline.without_repeats
    zero = _zero(footage)
    end = (clip.pts[-1] + clip.last_duration - zero) * clip.time_base
    indices = []
    for seconds in times:
        if seconds >= end:
            raise behind_the_end(seconds, end)
        indices.append(max(0, bisect_right(clip.pts, seconds / clip.time_base + zero) - 1))
    samples = {sample.index: sample for sample in _samples(footage, sorted(set(indices)), reporter, faces=False)}
    moments = []
    for seconds, index in zip(times, indices, strict=True):
        crop = _crop(samples[index], "", [])
        assert crop is not None, "without other moments there is always a place"
        moments.append(Moment(f"at {clock(seconds)}", index, _seconds(footage, index), crop))
    return tuple(moments)


def behind_the_end(seconds: Fraction, end: Fraction) -> UsageError:
    """Return the refusal of a time at which nothing is shown any more."""
    return UsageError(f"--at {clock(seconds)} is behind the end of the clip, which is {float(end):.2f} s long")


def clock(seconds: Fraction | float) -> str:
    """Write a time as players do: `1:30.5`, `1:02:03`."""
    tenths = round(float(seconds) * 10)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    second = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02d}:{second}" if hours else f"{minutes}:{second}"


def _samples(footage: Footage, indices: Sequence[int], reporter: Reporter, *, faces: bool = True) -> list[_Sample]:
    finder = FaceFinder() if faces else None
    samples = []
    with footage.open() as source, reported(reporter, "look for moments", len(indices)):
        for index in indices:
            pixels = next(iter(source.read(index, index + 1)))
            luma = _luma(pixels)
            found = finder.find(pixels) if finder else ()
            face = max(found, key=lambda one: one.width * one.height, default=None)
            samples.append(_Sample(index, *_detail(luma), float(luma.mean()), face))
            reporter.worked(1.0)
    return samples


def _luma(pixels: Pixels) -> Map:
    """Return (H, W), 0 to 255."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return grey * np.float32(255 / np.iinfo(pixels.dtype).max)


def most_detail(pixels: Pixels, size: Size) -> Box:
    """Return the part of a frame, of a size at most, that has the most detail."""
    detail, _ = _detail(_luma(pixels), size)
    wide, high = _crop_size((pixels.shape[1], pixels.shape[0]), size)
    row, column = np.unravel_index(int(detail.argmax()), detail.shape)
    return Box(int(column) - wide // 2, int(row) - high // 2, wide, high)


def _detail(luma: Map, largest: Size = LARGEST_CROP) -> tuple[Map, Map]:
    """Return for each pixel the mean steepness inside a crop around it, and that in proportion to the crop's luma.

    Both are -1 where such a crop leaves the frame.
    """
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    steepness = np.minimum(cv2.magnitude(across, down), 255)  # an edge of black bars must not outweigh everything
    height, width = luma.shape
    wide, high = _crop_size((width, height), largest)
    mean, local_luma = (
        cv2.boxFilter(plane, cv2.CV_32F, (wide, high), borderType=cv2.BORDER_REPLICATE) for plane in (steepness, luma)
    )
    detail, shadow = np.full_like(mean, -1), np.full_like(mean, -1)
    rows, columns = slice(high // 2, height - (high - high // 2) + 1), slice(wide // 2, width - (wide - wide // 2) + 1)
    detail[rows, columns] = mean[rows, columns]
    shadow[rows, columns] = (mean / np.maximum(local_luma, _LEAST_LUMA))[rows, columns]
    return detail, shadow


def _crop_size(size: Size, largest: Size = LARGEST_CROP) -> Size:
    return min(size[0], largest[0]), min(size[1], largest[1])


def _crop(sample: _Sample, title: str, others: Sequence[Moment]) -> Box | None:
    """Return what is shown: the face, or the place of most detail that no moment nearby shows already."""
    face = sample.face if title == "a face" else None
    height, width = sample.detail.shape
    wide, high = _crop_size((width, height))
    if face is not None:
        x, y = face.centre if face.width <= wide else face.points[0]
        left, top = (round(min(max(0, c - s / 2), f - s)) for c, s, f in ((x, wide, width), (y, high, height)))
        return Box(left, top, wide, high)
    detail = (sample.shadow if title == "dark" else sample.detail).copy()
    for other in others:
        if abs(other.index - sample.index) < _NEAR_FRAMES:
            # What has its middle in there shows much of the same.
            detail[other.crop.top : other.crop.bottom, other.crop.left : other.crop.right] = -1
    row, column = np.unravel_index(int(detail.argmax()), detail.shape)
    if detail[row, column] < 0:
        return None
    return Box(int(column) - wide // 2, int(row) - high // 2, wide, high)


def _zero(footage: Footage) -> int:
    """Return the tick at which a player counts 0."""
    header, timeline = footage.header, footage.file_timeline
    return 0 if header.contents is None else origin_ticks(header.contents, timeline.time_base, timeline.pts[0])


def _seconds(footage: Footage, index: int) -> Fraction:
    clip: Timeline = footage.timeline.without_repeats
    return (clip.pts[index] - _zero(footage)) * clip.time_base
