"""`compare.html`: one file without a network: the template `compare.html.jinja` has the page, this what it shows.

The frames of a moment are one JPEG, one above the other: the page moves it to show one of them, so that all pictures
play in step. With hidden names, all that tells them lies in the page in base64 until a choice is made.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline import __version__
from vsr_pipeline.compare.judging import WARNING
from vsr_pipeline.compare.making import Made
from vsr_pipeline.compare.moments import Moment, clock
from vsr_pipeline.compare.rows import Row, seconds_text
from vsr_pipeline.jobs.report.page import duration
from vsr_pipeline.jobs.report.template import data_uri, page_template, printable
from vsr_pipeline.runtime.files import write_text
from vsr_pipeline.runtime.progress import counted, size_text

_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


@dataclass(frozen=True, slots=True)
class Picture:
    """The frames of a moment by a model: `src` has them one above the other."""

    src: str
    width: int
    height: int
    frames: int
    still: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a model when its name is."""

    name: str
    facts: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, str], ...]
    command: str


@dataclass(frozen=True, slots=True)
class Card:
    """What the page shows of a model. `sealed` has the facts where they are hidden."""

    title: str
    pictures: tuple[Picture, ...]
    facts: Facts | None
    sealed: str = ""
    is_reference: bool = False


class Page:
    """Writes the page anew after each row.

    Args:
        path: the file.
        source: the clip.
        moments: what is shown of it.
        row_count: how many rows there will be.
        blind: hide the names until a choice is made.
        what: what a row is, such as `model`.
        milliseconds: how long a frame is shown.
        sizes: of the crop, LQ and HR, as text.
        warns: whether scores are shown that need a warning.
    """

    def __init__(
        self,
        path: Path,
        source: Path,
        moments: Sequence[Moment],
        *,
        row_count: int,
        blind: bool,
        what: str,
        milliseconds: float,
        sizes: str,
        warns: bool,
    ) -> None:
        self._path = path
        self._title = source.name
        self._moments = [f"{moment.title}, {clock(moment.seconds)}" for moment in moments]
        if moments and moments[0].title.startswith("at "):
            self._moments = [moment.title for moment in moments]
        self._row_count = row_count
        self._blind = blind
        self._what = what
        self._milliseconds = milliseconds
        self._sizes = sizes
        self._warns = warns
        self._cards: dict[str, Card] = {}

    def write(self, rows: Sequence[Row]) -> None:
        """Write what there is so far.

        Raises:
            OutputError, ResourceError: it cannot be written.
        """
        for row in rows:
            if row.letter not in self._cards:
                self._cards[row.letter] = _card(row, blind=self._blind)
        done, total = len(rows), self._row_count
        models = total - any(row.is_reference for row in rows)
        template = page_template("vsr_pipeline.compare", "compare.html.jinja")
        html = template.render(
            title=self._title,
            headline=f"{counted(models, self._what)}, {counted(len(self._moments), 'moment')}",
            moments=self._moments,
            cards=[self._cards[row.letter] for row in rows],
            blind=self._blind,
            unfinished=f"{done} of {total} are ready: load this page again for the rest." if done < total else "",
            milliseconds=self._milliseconds,
            sizes=self._sizes,
            warning=WARNING if self._warns else "",
            program=f"vsr {__version__}",
        )
        write_text(self._path, html)


def facts_of(row: Row) -> Facts:
    """Return what is said of a row, as texts."""
    facts = []
    if row.cost is not None:
        facts = [
            ("One frame", seconds_text(row.cost.seconds_per_frame)),
            ("Whole clip", duration(row.cost.hours * 3600)),
            ("File", f"about {size_text(row.cost.output_bytes)}"),
        ]
    scores = tuple((score.name, score.text) for score in row.scores)
    return Facts(printable(row.name), tuple(facts), scores, printable(row.command))


def _card(row: Row, *, blind: bool) -> Card:
    pictures = tuple(_picture(made) for made in row.made)
    facts = facts_of(row)
    if not blind or row.is_reference:
        return Card(row.name, pictures, facts, is_reference=row.is_reference)
    told = {"name": facts.name, "facts": facts.facts, "scores": facts.scores, "command": facts.command}
    return Card(row.letter, pictures, None, base64.b64encode(json.dumps(told).encode()).decode("ascii"))


def _picture(made: Made) -> Picture:
    height, width = made.pictures[0].shape[:2]
    strip = np.asarray(np.concatenate(made.pictures), np.uint8)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), _QUALITY)[1]
    return Picture(data_uri(jpeg.tobytes()), width, height, len(made.pictures), made.still)
