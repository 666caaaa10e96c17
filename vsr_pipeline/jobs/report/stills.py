"""The pictures of a report: frames of three moments, before and after."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2

from vsr_pipeline.jobs.report.outcome import Still
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import Schedule
from vsr_pipeline.runtime.files import published

SMALL_WIDTH = 960
"""Of a still that a page holds, at most."""

# How far into the clip, in percent, and what the files' names end with. The middle is what an older version had alone;
# in a clip of fewer than three frames it comes before the others.
_MOMENTS = {50: "", 10: "_10", 90: "_90"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame that is kept for the report."""

    frame: int
    """Of the clip's distinct frames."""
    seconds: float
    """When the output shows it."""
    ending: str
    """Of its files' names."""


def moments_of(schedule: Schedule) -> tuple[Moment, ...]:
    """Return which frames are kept for the report: the middle one, and where there are others, at a tenth and nine."""
    moments: dict[int, Moment] = {}
    for percent, ending in _MOMENTS.items():
        place = len(schedule.frames) * percent // 100
        frame, seconds = schedule.frames[place], float(schedule.pts[place] * schedule.time_base)
        moments.setdefault(frame, Moment(frame, seconds, ending))
    return tuple(moments.values())


def stills_in(folder: Path, schedule: Schedule) -> tuple[Still, ...]:
    """Return those stills of a job that are there, the middle first."""
    stills = []
    for moment in moments_of(schedule):
        before, after, full = (folder / name for name in _names(moment.ending))
        still = Still(moment.seconds, before, after, full if full.exists() else after)
        stills += [still] if still.is_there else []
    return tuple(stills)


def save_stills(
    folder: Path, before: Pixels, after: Pixels, *, ending: str = "", pixel_aspect_ratio: Fraction = Fraction(1)
) -> None:
    """Write `before.jpg`, `after.jpg` and, where the output is wider than that one, `after_full.jpg`, for the report.

    They have square pixels.

    Args:
        folder: where they go.
        before: the frame that went into the model.
        after: the same frame, enhanced.
        ending: of the names of `before` and `after`.
        pixel_aspect_ratio: width / height of a pixel of both; the smaller side of a pixel is stretched.
    """
    stretch_x, stretch_y = max(pixel_aspect_ratio, Fraction(1)), max(1 / pixel_aspect_ratio, Fraction(1))
    scale = SMALL_WIDTH / (after.shape[1] * stretch_x)
    names = _names(ending)
    jobs = [(names[0], before, Fraction(1)), (names[1], after, min(Fraction(1), scale))]
    jobs += [(names[2], after, Fraction(1))] if scale < 1 else []
    for name, pixels, factor in jobs:
        eight_bit = cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.itemsize == 2 else pixels
        width, height = (
            max(1, round(pixels.shape[1] * stretch_x * factor)),
            max(1, round(pixels.shape[0] * stretch_y * factor)),
        )
        smaller = width < pixels.shape[1] or height < pixels.shape[0]
        sized = cv2.resize(eight_bit, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(sized, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        with published(folder / name) as temporary:
            temporary.write_bytes(encoded.data)


def _names(ending: str) -> tuple[str, str, str]:
    return f"before{ending}.jpg", f"after{ending}.jpg", f"after{ending}_full.jpg"
