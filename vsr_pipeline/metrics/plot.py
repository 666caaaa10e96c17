"""The scores of each frame as curves: one panel for each score, one colour for each clip. Drawn by OpenCV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vsr_pipeline.media.chart import Picture, Point, colour_of, draw_panel, shortened, write
from vsr_pipeline.metrics.scores import FrameScores, mean_scores


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
    "perceptual": _Panel("Perceptual", digits=3, less_is_better=True, is_sampled=True),
    "niqe": _Panel("NIQE", less_is_better=True, is_sampled=True),
    "brisque": _Panel("BRISQUE", less_is_better=True, is_sampled=True),
}
_LESS = "less is better"
_WIDTH, _PANEL_HEIGHT = 1280, 260
_LEFT, _RIGHT, _TITLE, _BOTTOM, _LEGEND_ROW = 84, 24, 40, 26, 30
_LEGEND_HEAD, _LEGEND_COLUMN = 48, 110
_SMALL = 0.42
"""Size of remarks; other text is 0.5."""
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
    write(picture, unit, (_WIDTH - _RIGHT, picture.shape[0] - 4), align=1.0)
    return picture


def _draw_legend(picture: Picture, clips: Sequence[tuple[str, Sequence[FrameScores]]], scores: list[str]) -> None:
    """Draw a row for each clip: its colour, its name, and the mean of each score in a column."""
    columns = [_WIDTH - _RIGHT - _LEGEND_COLUMN * place for place in range(len(scores) - 1, -1, -1)]
    write(picture, "means over the frames", (_LEFT, 26), scale=_SMALL)
    for score, right in zip(scores, columns, strict=True):
        write(picture, _PANELS[score].title, (right, 26), align=1.0)
        if _PANELS[score].less_is_better:
            write(picture, _LESS, (right, 44), align=1.0, scale=_SMALL)
    for row, (name, frames) in enumerate(clips):
        y = _LEGEND_HEAD + 8 + _LEGEND_ROW * row + _LEGEND_ROW // 2
        cv2.line(picture, (_LEFT, y), (_LEFT + 40, y), colour_of(row), 3, cv2.LINE_AA)
        space = _WIDTH - _RIGHT - _LEGEND_COLUMN * len(scores) - _LEFT - 56
        write(picture, shortened(name, space), (_LEFT + 56, y + 6))
        means = mean_scores(tuple(frames))
        for score, right in zip(scores, columns, strict=True):
            mean = getattr(means, score)
            write(picture, "-" if mean is None else f"{mean:.{_PANELS[score].digits}f}", (right, y + 6), align=1.0)


def _frames_per_point(frame_count: int) -> int:
    return -(-frame_count // _MOST_POINTS)


def _draw_panel(picture: Picture, top: int, panel: _Panel, curves: list[list[float | None]]) -> None:
    left, right = _LEFT, _WIDTH - _RIGHT
    high, low = top + _TITLE, top + _PANEL_HEIGHT - 28
    remark = f" ({_LESS})" if panel.less_is_better else ""
    write(picture, f"{panel.title}{panel.unit}{remark}", (left, top + 26), scale=0.62)
    last = max(1, max(map(len, curves)) - 1)
    points = [_sample(curve) if panel.is_sampled else _points(curve, _frames_per_point(last + 1)) for curve in curves]
    if not draw_panel(picture, (left, high, right, low), points, last, least_span=0.1):
        write(picture, "infinite: the clips are equal", ((left + right) // 2, (high + low) // 2), align=0.5)


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
