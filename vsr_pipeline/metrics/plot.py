"""The scores of each frame as curves: one panel for each score, one colour for each clip. Drawn by OpenCV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.metrics.scores import FrameScores, mean_scores

Picture = npt.NDArray[np.uint8]
"""(H, W, 3), RGB."""
Colour = tuple[int, int, int]
Point = tuple[float, float | None]
"""Frame index and score."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """How a score is drawn: its name, its unit, the digits of its mean, and whether some frames alone have it."""

    title: str
    unit: str = ""
    digits: int = 2
    less_is_better: bool = False
    is_sampled: bool = False


_PANELS = {
    "psnr_y": _Panel("PSNR Y", " in dB"),
    "vmaf": _Panel("VMAF"),
    "vmaf_neg": _Panel("VMAF-NEG"),
    "flicker": _Panel("Flicker", digits=3, less_is_better=True),
    "niqe": _Panel("NIQE", less_is_better=True, is_sampled=True),
    "brisque": _Panel("BRISQUE", less_is_better=True, is_sampled=True),
}
_LESS = "less is better"
_WIDTH, _PANEL_HEIGHT = 1280, 260
_LEFT, _RIGHT, _TITLE, _BOTTOM, _LEGEND_ROW = 84, 24, 40, 26, 30
_LEGEND_HEAD, _LEGEND_COLUMN = 48, 110
_INK, _GRID, _WHITE = (40, 40, 40), (222, 222, 222), (255, 255, 255)
# Told apart by people who see colours differently, too (Okabe and Ito, 2008).
_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALL = 0.42
"""Size of remarks; other text is 0.5."""
_MARKED_FRAMES = 60
"""Up to so many frames, each is a dot on its curve."""
_MOST_POINTS = 300
"""Of a curve; of longer clips, each point is the mean of some frames."""


def draw_curves(clips: Sequence[tuple[str, Sequence[FrameScores]]]) -> Picture:
    """Draw the scores of clips, each with its name, over the frame index, and their means in the legend.

    A score that no frame has gets no panel.

    Raises:
        ValueError: a clip has no frames.
    """
    curves = {name: [[getattr(frame, name) for frame in frames] for _, frames in clips] for name in _PANELS}
    panels = {name: values for name, values in curves.items() if any(v is not None for curve in values for v in curve)}
    top = _LEGEND_HEAD + _LEGEND_ROW * len(clips) + 12
    picture = np.full((top + _PANEL_HEIGHT * len(panels) + _BOTTOM, _WIDTH, 3), 255, np.uint8)
    _draw_legend(picture, clips, list(panels))
    for number, (name, values) in enumerate(panels.items()):
        _draw_panel(picture, top + number * _PANEL_HEIGHT, _PANELS[name], values)
    each = _frames_per_point(max(len(frames) for _, frames in clips))
    unit = "frame" if each == 1 else f"frame (each point is the mean of {each})"
    _write(picture, unit, (_WIDTH - _RIGHT, picture.shape[0] - 4), align=1.0)
    return picture


def _draw_legend(picture: Picture, clips: Sequence[tuple[str, Sequence[FrameScores]]], scores: list[str]) -> None:
    """Draw a row for each clip: its colour, its name, and the mean of each score in a column."""
    columns = [_WIDTH - _RIGHT - _LEGEND_COLUMN * place for place in range(len(scores) - 1, -1, -1)]
    _write(picture, "means over the frames", (_LEFT, 26), scale=_SMALL)
    for score, right in zip(scores, columns, strict=True):
        _write(picture, _PANELS[score].title, (right, 26), align=1.0)
        if _PANELS[score].less_is_better:
            _write(picture, _LESS, (right, 44), align=1.0, scale=_SMALL)
    for row, (name, frames) in enumerate(clips):
        y = _LEGEND_HEAD + 8 + _LEGEND_ROW * row + _LEGEND_ROW // 2
        cv2.line(picture, (_LEFT, y), (_LEFT + 40, y), _colour(row), 3, cv2.LINE_AA)
        space = _WIDTH - _RIGHT - _LEGEND_COLUMN * len(scores) - _LEFT - 56
        _write(picture, _shortened(name, space), (_LEFT + 56, y + 6))
        means = mean_scores(tuple(frames))
        for score, right in zip(scores, columns, strict=True):
            mean = getattr(means, score)
            _write(picture, "-" if mean is None else f"{mean:.{_PANELS[score].digits}f}", (right, y + 6), align=1.0)


def _frames_per_point(frame_count: int) -> int:
    return -(-frame_count // _MOST_POINTS)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels, linearly, between two round numbers that have all values between them."""

    low: float
    step: float
    steps: int
    at_low: float
    at_high: float

    @classmethod
    def around(cls, low: float, high: float, at_low: float, at_high: float, *, labels: int) -> "_Axis":
        """Choose steps of 1, 2 or 5 times a power of ten: at most about `labels` of them."""
        span = max(high - low, 0.1)
        raw = span / labels
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
        first = math.floor(low / step + 1e-9)
        steps = max(1, math.ceil(high / step - 1e-9) - first)
        return cls(first * step, step, steps, at_low, at_high)

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        return self.at_low + (value - self.low) / (self.step * self.steps) * (self.at_high - self.at_low)

    def ticks(self) -> list[tuple[float, str]]:
        """Values that get a line, and what is written beside it."""
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        values = [self.low + k * self.step for k in range(self.steps + 1)]
        return [(value, f"{value:.{digits}f}") for value in values]


def _draw_panel(picture: Picture, top: int, panel: _Panel, curves: list[list[float | None]]) -> None:
    left, right = _LEFT, _WIDTH - _RIGHT
    high, low = top + _TITLE, top + _PANEL_HEIGHT - 28
    remark = f" ({_LESS})" if panel.less_is_better else ""
    _write(picture, f"{panel.title}{panel.unit}{remark}", (left, top + 26), scale=0.62)
    last = max(1, max(map(len, curves)) - 1)
    points = [_sample(curve) if panel.is_sampled else _points(curve, _frames_per_point(last + 1)) for curve in curves]
    finite = [value for curve in points for _, value in curve if value is not None]
    if not finite:
        _write(picture, "infinite: the clips are equal", ((left + right) // 2, (high + low) // 2), align=0.5)
        return
    y_axis = _Axis.around(min(finite), max(finite), low, high, labels=4)
    x_axis = _Axis.around(0, last, left, right, labels=10)
    for value, text in y_axis.ticks():
        y = round(y_axis(value))
        cv2.line(picture, (left, y), (right, y), _GRID, 1)
        _write(picture, text, (left - 8, y + 5), align=1.0)
    for value, text in x_axis.ticks():
        if value == int(value):
            x = round(x_axis(value))
            cv2.line(picture, (x, high), (x, low), _GRID, 1)
            _write(picture, str(int(float(text))), (x, low + 20), align=0.5)
    for number, curve in enumerate(points):
        _draw_curve(picture, curve, _colour(number), x_axis, y_axis)


def _points(curve: list[float | None], each: int) -> list[Point]:
    """Means over `each` frames at a time: (middle frame, value), None where no frame of them has a finite value."""
    points: list[Point] = []
    for first in range(0, len(curve), each):
        part = curve[first : first + each]
        finite = [value for value in part if value is not None and math.isfinite(value)]
        points.append((first + (len(part) - 1) / 2, sum(finite) / len(finite) if finite else None))
    return points


def _sample(curve: list[float | None]) -> list[Point]:
    """Points of those frames alone that have a value, so that the curve goes on from one to the next."""
    return [(frame, value) for frame, value in enumerate(curve) if value is not None]


def _draw_curve(picture: Picture, curve: list[Point], colour: Colour, x_axis: _Axis, y_axis: _Axis) -> None:
    """Draw a line through neighbours that both have a value, and dots where frames are few."""
    fine = 4  # bits of a pixel's fraction
    before: tuple[int, int] | None = None
    for frame, value in curve:
        point = None
        if value is not None:
            point = (round(x_axis(frame) * 2**fine), round(y_axis(value) * 2**fine))
            if before:
                cv2.line(picture, before, point, colour, 2, cv2.LINE_AA, fine)
            if len(curve) <= _MARKED_FRAMES:
                cv2.circle(picture, point, 3 * 2**fine, colour, cv2.FILLED, cv2.LINE_AA, fine)
        before = point


def _colour(number: int) -> Colour:
    return _COLOURS[number % len(_COLOURS)]


def _write(picture: Picture, text: str, at: tuple[int, int], *, align: float = 0.0, scale: float = 0.5) -> None:
    """Write on the base line at (x, y); `align` 0: from there on, 1: up to there."""
    width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
    cv2.putText(picture, text, (round(at[0] - align * width), at[1]), _FONT, scale, _INK, 1, cv2.LINE_AA)


def _shortened(text: str, width: int) -> str:
    """Cut a text at its beginning, because the ends of paths differ, so that it fits into a width in pixels."""
    cut = text
    while len(cut) > 1 and cv2.getTextSize(cut, _FONT, 0.5, 1)[0][0] > width:
        text = text[1:]
        cut = f"...{text}"
    return cut
