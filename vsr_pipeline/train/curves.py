"""The course of a run: rows of a CSV file, and a picture of them."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vsr_pipeline.errors import OutputError
from vsr_pipeline.runtime.files import published, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CSV = "curves.csv"
PNG = "curves.png"

_NOT_DRAWN = ("iteration", "seconds", "wait")
_WIDTH, _HEIGHT, _MARGIN = 900, 220, 50
_MARKED_POINTS = 30
_COLOURS = ((200, 90, 20), (30, 140, 30), (40, 40, 210))


class Curves:
    """Rows of numbers by iteration, in memory and in `curves.csv` of a folder; for TensorBoard, too, if it is there.

    Args:
        folder: of the run.
        until: rows that are there already are kept up to this iteration.
    """

    def __init__(self, folder: Path, until: int) -> None:
        self._folder = folder
        self.rows: list[dict[str, float]] = []
        try:
            text = (folder / CSV).read_text(encoding="utf-8") if (folder / CSV).is_file() else ""
        except OSError as error:
            raise OutputError(f"cannot read {folder / CSV}: {error.strerror or error}") from error
        for row in csv.DictReader(io.StringIO(text)):
            values = {name: float(value) for name, value in row.items() if name and value}
            if values.get("iteration", np.inf) <= until:
                self.rows.append(values)
        self._board = _board(folder / "tensorboard", until + 1)

    def add(self, row: dict[str, float]) -> None:
        """Keep a row; rows of the same iteration are merged."""
        if self.rows and self.rows[-1]["iteration"] == row["iteration"]:
            self.rows[-1] |= row
        else:
            self.rows.append(dict(row))
        for name, value in row.items():
            if self._board is not None and name != "iteration":
                self._board.add_scalar(name, value, int(row["iteration"]))

    def write(self) -> None:
        """Write `curves.csv` and `curves.png`.

        Raises:
            OutputError, DiskFullError: they cannot be written.
        """
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)
        write_text(self._folder / CSV, text.getvalue())
        panels = [self._panel(name) for name in names if name not in _NOT_DRAWN]
        if panels:
            encoded = cv2.imencode(".png", np.concatenate(panels))[1]
            with published(self._folder / PNG) as temporary:
                temporary.write_bytes(encoded.tobytes())
        if self._board is not None:
            self._board.flush()

    def _panel(self, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        """Draw one curve over the iterations, from its lowest to its highest value."""
        panel = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
        # The PSNR of equal frames is infinite.
        points = np.array([(row["iteration"], row[name]) for row in self.rows if np.isfinite(row.get(name, np.nan))])
        if not len(points):
            _write_title(panel, f"{name}: no finite value yet")
            return panel
        inner_width, inner_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
        cv2.rectangle(panel, (_MARGIN, _MARGIN), (_WIDTH - _MARGIN, _HEIGHT - _MARGIN), (200, 200, 200))
        low, high = points.min(axis=0), points.max(axis=0)
        unit = np.where(high > low, (points - low) / np.where(high > low, high - low, 1), 0.5)
        xy = np.stack((_MARGIN + unit[:, 0] * inner_width, _HEIGHT - _MARGIN - unit[:, 1] * inner_height), axis=1)
        colour = _COLOURS[sum(map(ord, name)) % len(_COLOURS)]
        places = np.round(xy).astype(np.int32)
        cv2.polylines(panel, [places], False, colour, 1, cv2.LINE_AA)
        if len(places) <= _MARKED_POINTS:  # one point is no line, and few are hard to see
            for x, y in places:
                cv2.circle(panel, (int(x), int(y)), 4, colour, cv2.FILLED, cv2.LINE_AA)
        span = f"{low[1]:.5g} to {high[1]:.5g}, now " if high[1] > low[1] else ""
        _write_title(panel, f"{name}: {span}{points[-1, 1]:.5g} (iteration {int(points[-1, 0])})")
        return panel


def _write_title(panel: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", title: str) -> None:
    cv2.putText(panel, title, (_MARGIN, _MARGIN - 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)


def _board(folder: Path, first: int) -> "SummaryWriter | None":
    """Open TensorBoard's log, if it is installed; what an interrupted run wrote from iteration `first` on is hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)
