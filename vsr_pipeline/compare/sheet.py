"""The sheet beside the page: a PNG with the middle of each picture at 100 % and at 200 %, a row for each model."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.compare.making import Made
from vsr_pipeline.compare.moments import Moment, clock
from vsr_pipeline.compare.rows import Row, seconds_text
from vsr_pipeline.jobs.report.page import duration
from vsr_pipeline.media.images import Pixels, write_png
from vsr_pipeline.runtime.progress import size_text

_CELL = (320, 240)
_GAP = 12
_LINE = 34
_PAPER, _INK, _SOFT = 250, (29, 33, 37), (92, 100, 108)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_sheet(path: Path, rows: Sequence[Row], moments: Sequence[Moment], *, blind: bool) -> None:
    """Draw all rows and write them.

    Args:
        path: a PNG.
        rows: models, and the reference.
        moments: the columns; each has two cells.
        blind: letters stand for the names.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    step_x, step_y = _CELL[0] + _GAP, _CELL[1] + _LINE + _GAP
    width, height = _GAP + 2 * len(moments) * step_x, _GAP + _LINE + len(rows) * step_y
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for column, moment in enumerate(moments):
        when = "" if moment.title.startswith("at ") else f", {clock(moment.seconds)}"
        for half, zoom in enumerate((100, 200)):
            _write(sheet, f"{moment.title}{when}, {zoom} %", _GAP + (2 * column + half) * step_x, _GAP + 22, _SOFT)
    for number, row in enumerate(rows):
        top = _GAP + _LINE + number * step_y
        _write(sheet, _label(row, blind=blind), _GAP, top + 22, _INK)
        for column, made in enumerate(row.made):
            for half, zoom in enumerate((1, 2)):
                left = _GAP + (2 * column + half) * step_x
                cell = _cell(made, zoom)
                sheet[top + _LINE : top + _LINE + cell.shape[0], left : left + cell.shape[1]] = cell
    write_png(path, sheet)


def _label(row: Row, *, blind: bool) -> str:
    cost = row.cost
    if blind and not row.is_reference:
        return row.letter
    if cost is None:
        return row.name
    return (
        f"{row.name}    {seconds_text(cost.seconds_per_frame)} a frame, {duration(cost.hours * 3600)}, "
        f"{size_text(cost.output_bytes)}"
    )


def _cell(made: Made, zoom: int) -> Pixels:
    """Return the middle of the still, enlarged without interpolation."""
    picture = made.pictures[made.still]
    height, width = picture.shape[:2]
    wide, high = min(width, _CELL[0] // zoom), min(height, _CELL[1] // zoom)
    left, top = (width - wide) // 2, (height - high) // 2
    middle = picture[top : top + high, left : left + wide]
    return np.asarray(np.repeat(np.repeat(middle, zoom, axis=0), zoom, axis=1), np.uint8)


def _write(sheet: Pixels, text: str, left: int, bottom: int, ink: tuple[int, int, int]) -> None:
    """Put a text on the sheet. OpenCV's letters are ASCII."""
    plain = text.encode("ascii", "replace").decode("ascii")
    cv2.putText(sheet, plain, (left, bottom), _FONT, 0.55, ink, 1, cv2.LINE_AA)
