"""Curves in panels, drawn by OpenCV: small enough not to need a plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""(H, W, 3), RGB."""
Colour = tuple[int, int, int]
Point = tuple[float, float | None]
"""Where on the horizontal axis, and the value; None: there is none."""

INK: Colour = (40, 40, 40)
_GRID = (222, 222, 222)
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
_MARKED_POINTS = 60
"""Up to so many points, each is a dot on its curve."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to pixels, linearly, between two round numbers that have all values between them."""

    low: float
    step: float
    steps: int
    at_low: float
    at_high: float

    @classmethod
    def around(
        cls, low: float, high: float, at_low: float, at_high: float, *, labels: int, least_span: float
    ) -> "Axis":
        """Choose steps of 1, 2 or 5 times a power of ten: about `labels` of them, over `least_span` at least."""
        span = max(high - low, least_span, 1e-12)
        middle = (low + high) / 2
        low, high = min(low, middle - span / 2), max(high, middle + span / 2)
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


def draw_panel(
    picture: Picture,
    box: tuple[int, int, int, int],
    curves: Sequence[Sequence[Point]],
    last: float,
    *,
    least_span: float,
) -> bool:
    """Draw curves with their axes into a box; each curve has the colour of its place.

    Args:
        picture: it is changed.
        box: left, top, right and bottom of the inside, in pixels.
        curves: points from left to right.
        last: end of the horizontal axis, which begins at 0.
        least_span: of the vertical axis, so that noise does not fill the panel.

    Returns:
        Whether any curve has a value; where none has, nothing is drawn.
    """
    left, high, right, low = box
    values = [value for curve in curves for _, value in curve if value is not None]
    if not values:
        return False
    y_axis = Axis.around(min(values), max(values), low, high, labels=4, least_span=least_span)
    x_axis = Axis.around(0, last, left, right, labels=10, least_span=last)
    for value, text in y_axis.ticks():
        y = round(y_axis(value))
        cv2.line(picture, (left, y), (right, y), _GRID, 1)
        write(picture, text, (left - 8, y + 5), align=1.0)
    for value, text in x_axis.ticks():
        if value == int(value):
            x = round(x_axis(value))
            cv2.line(picture, (x, high), (x, low), _GRID, 1)
            write(picture, str(int(float(text))), (x, low + 20), align=0.5)
    for number, curve in enumerate(curves):
        _draw_curve(picture, curve, colour_of(number), x_axis, y_axis)
    return True


def _draw_curve(picture: Picture, curve: Sequence[Point], colour: Colour, x_axis: Axis, y_axis: Axis) -> None:
    """Draw a line through neighbours that both have a value, and dots where points are few."""
    fine = 4  # bits of a pixel's fraction
    before: tuple[int, int] | None = None
    for place, value in curve:
        point = None
        if value is not None:
            point = (round(x_axis(place) * 2**fine), round(y_axis(value) * 2**fine))
            if before:
                cv2.line(picture, before, point, colour, 2, cv2.LINE_AA, fine)
            if len(curve) <= _MARKED_POINTS:
                cv2.circle(picture, point, 3 * 2**fine, colour, cv2.FILLED, cv2.LINE_AA, fine)
        before = point


def colour_of(number: int) -> Colour:
    """Return the colour of the curve of this number."""
    return _COLOURS[number % len(_COLOURS)]


def write(picture: Picture, text: str, at: tuple[int, int], *, align: float = 0.0, scale: float = 0.5) -> None:
    """Write on the base line at (x, y); `align` 0: from there on, 1: up to there."""
    width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
    cv2.putText(picture, text, (round(at[0] - align * width), at[1]), _FONT, scale, INK, 1, cv2.LINE_AA)


def shortened(text: str, width: int) -> str:
    """Cut a text at its beginning, because the ends of paths differ, so that it fits into a width in pixels."""
    cut = text
    while len(cut) > 1 and cv2.getTextSize(cut, _FONT, 0.5, 1)[0][0] > width:
        text = text[1:]
        cut = f"...{text}"
    return cut
