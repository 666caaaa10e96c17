"""What the queue of a batch holds: frozen rows of clips and events, and the tables that they are kept in."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from vsr_pipeline.jobs.report.outcome import ClipOutcome
from vsr_pipeline.runtime.database import Value, storable
from vsr_pipeline.runtime.files import FileIdentity

SCHEMA_VERSION = 2

SCHEMA = (
    """CREATE TABLE clips (
        clip TEXT PRIMARY KEY, output TEXT NOT NULL DEFAULT '', state TEXT NOT NULL,
        request TEXT NOT NULL DEFAULT '', chosen TEXT NOT NULL DEFAULT '{}', is_added INTEGER NOT NULL DEFAULT 0,
        place INTEGER, rank INTEGER,
        source TEXT NOT NULL DEFAULT 'null', settings TEXT NOT NULL DEFAULT '{}',
        published TEXT NOT NULL DEFAULT 'null', outcome TEXT NOT NULL DEFAULT 'null',
        tries INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', exit_code INTEGER NOT NULL DEFAULT 0,
        changed_at TEXT NOT NULL DEFAULT '', frames_before INTEGER NOT NULL DEFAULT 0,
        suspected INTEGER NOT NULL DEFAULT 0, boot_id TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL, kind TEXT NOT NULL, clip TEXT NOT NULL, message TEXT NOT NULL)""",
    "CREATE TABLE options (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)

State = Literal["queued", "working", "stopped", "done", "failed", "given up", "cancelled"]
"""queued: waits, and no run has begun it since it was added; working: begun, and the run has not come to its end, or
was killed; the others are as `ClipOutcome.status`. A failed clip is tried again by the next run, one that was given up
or cancelled is left alone until somebody asks for it."""

WAITING: tuple[State, ...] = ("queued", "stopped", "failed")
"""States of clips that a batch will take up by itself, in this run or in the next one."""

Request = Literal["", "cancel", "cancel now"]
"""What somebody asks of a clip that is worked on: to stop after the segment in work, or to drop that segment."""

EventKind = Literal["changed", "started", "noted", "warned", "saved", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """What is known of a clip. `changed_at` is ISO 8601 with the offset from UTC."""

    clip: str
    """Its path under the batch's folder, with `/`; `output` is the same for the output folder."""
    output: str = ""
    """Empty: no batch has begun it."""
    state: State
    request: Request = ""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this clip alone, by the names of `Config`'s fields; the others are the batch's."""
    is_added: bool = False
    """Whether somebody asked for this clip; else a batch found it in its folder."""
    place: int | None = None
    """Clips with a place come first, the smallest of all; who adds or moves clips gives them one."""
    rank: int | None = None
    """Where the rules of a batch put a clip among those without a place."""
    source: FileIdentity | None = None
    """The source, as it was when the clip was begun; None: it never was."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """All settings that the clip was begun with, under dotted names."""
    published: FileIdentity | None = None
    """The output, as it was published last; kept while the clip is made again."""
    tries: int = 0
    """Runs in which it failed, since its source or the settings last changed."""
    reason: str = ""
    exit_code: int = 0
    changed_at: str = ""
    frames_before: int = 0
    """Frames that were finished when the run began that is or was at work on it."""
    suspected: bool = False
    """Whether it was open when a run ended without a word, and other clips were too, or the machine: it runs alone."""
    boot_id: str = ""
    """Of the machine, when the run began that is or was at work on it; empty where the system does not tell."""
    outcome: ClipOutcome | None = None
    """What it was when it was done last."""

    @property
    def frame_count(self) -> int:
        """Frames of the output; 0 while there is none."""
        return self.outcome.frame_count if self.outcome else 0

    @property
    def fps(self) -> float:
        """Frames per second at which it was computed; 0 while it is not."""
        return self.outcome.fps if self.outcome else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEvent:
    """Something that happened. `at` is ISO 8601 with the offset from UTC."""

    sequence: int
    """Each event has a larger one than those before; they begin with 1."""
    at: str
    kind: EventKind
    """changed: a row of the queue, and `message` says in a word how ("added", "moved", "cancel", "removed", or the new
    state); read the row again. started, finished: a piece of work on the clip; saved: another segment of it is safe on
    the disk; noted, warned: what the log file has, too."""
    clip: str
    """As `QueueRow.clip`; empty: it is about the whole batch."""
    message: str


def in_order(rows: Iterable[QueueRow]) -> tuple[QueueRow, ...]:
    """Return rows in the order in which they are shown: what is worked on, what waits, in its order, then the rest."""

    def key(row: QueueRow) -> tuple[object, ...]:
        if row.state not in WAITING:
            return (0 if row.state == "working" else 2, False, 0, False, 0, row.clip)
        return (1, row.place is None, row.place or 0, row.rank is None, row.rank or 0, row.clip)

    return tuple(sorted(rows, key=key))


_ROW = TypeAdapter(QueueRow)
_JSON = ("chosen", "source", "settings", "published", "outcome")
NAMES = tuple(QueueRow.__dataclass_fields__)
COLUMNS = ", ".join(NAMES)


def row_from(values: tuple[Value, ...]) -> QueueRow:
    """Read a row of `COLUMNS`.

    Raises:
        ValueError: it is none of ours.
    """
    named: dict[str, Any] = dict(zip(NAMES, values, strict=True))
    return _ROW.validate_python(named | {name: json.loads(named[name]) for name in _JSON})


def columns_of(row: QueueRow, *names: str) -> dict[str, Value]:
    """Return the values of columns; all of them where none is named."""
    # Through `json`, because the folders' names need not be Unicode, and pydantic's own writer takes nothing else.
    values = _ROW.dump_python(row, mode="json")
    return {name: storable(json.dumps(values[name]) if name in _JSON else values[name]) for name in names or NAMES}


def from_version_1(connection: sqlite3.Connection) -> None:
    """Convert a queue in which each row was one JSON value.

    Raises:
        ValueError: a row is none of ours.
    """
    old = [_ROW.validate_python(json.loads(text)) for (text,) in connection.execute("SELECT row FROM clips")]
    connection.execute("DROP TABLE clips")
    for statement in SCHEMA:
        connection.execute(statement)
    marks = ", ".join("?" for _ in NAMES)
    statement = f"INSERT INTO clips ({COLUMNS}) VALUES ({marks})"  # noqa: S608 - names are ours
    connection.executemany(statement, [tuple(columns_of(row).values()) for row in old])
