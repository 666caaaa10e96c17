"""The course of a run: rows of a CSV file, and a picture of them."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.chart import Picture, draw_panel, write
from vsr_pipeline.runtime.files import published, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CSV = "curves.csv"
PNG = "curves.png"

_NOT_DRAWN = ("iteration", "seconds", "wait")
_WIDTH, _HEIGHT, _LEFT = 900, 220, 84


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
            encoded = cv2.imencode(".png", cv2.cvtColor(np.concatenate(panels), cv2.COLOR_RGB2BGR))[1]
            with published(self._folder / PNG) as temporary:
                temporary.write_bytes(encoded.tobytes())
        if self._board is not None:
            self._board.flush()

    def _panel(self, name: str) -> Picture:
        """Draw one curve over the iterations."""
        panel = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
        # The PSNR of equal frames is infinite.
        points = [(row["iteration"], row[name]) for row in self.rows if np.isfinite(row.get(name, np.nan))]
        now = f"{points[-1][1]:.5g} (iteration {int(points[-1][0])})" if points else "no finite value yet"
        write(panel, f"{name}: {now}", (_LEFT, 26))
        if points:
            box = (_LEFT, 36, _WIDTH - 24, _HEIGHT - 36)
            draw_panel(panel, box, [points], max(1.0, points[-1][0]), least_span=abs(points[-1][1]) / 2)
        return panel


def _board(folder: Path, first: int) -> "SummaryWriter | None":
    """Open TensorBoard's log, if it is installed; what an interrupted run wrote from iteration `first` on is hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)
