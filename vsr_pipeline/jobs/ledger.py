"""The ledger: one SQLite file per job that says what is done. A power cut leaves the state of some moment before it.

Each `save` is one transaction, on disk when the call returns. What a row says about a file (size, SHA-256) is what was
published; whether the file still is so, the reader of the row checks. To start over, delete `ledger.sqlite` before its
journals: SQLite ignores a journal without its file.
"""

import dataclasses
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from vsr_pipeline.runtime.database import Database, storable
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.timeline import Analysis, ClockPart, Decision, Timeline, Tint

SCHEMA_VERSION = 5

_SCHEMA = (
    "CREATE TABLE fingerprint (position INTEGER PRIMARY KEY, field TEXT NOT NULL UNIQUE, value TEXT NOT NULL)",
    """CREATE TABLE analysis (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        time_base TEXT NOT NULL, pts TEXT NOT NULL, last_duration INTEGER NOT NULL, cuts TEXT NOT NULL,
        deinterlace TEXT, repeats TEXT NOT NULL, tints TEXT NOT NULL,
        coded_pts TEXT NOT NULL, clock_parts TEXT NOT NULL,
        decode_errors INTEGER NOT NULL, missing_seconds TEXT NOT NULL, hidden_frames INTEGER NOT NULL,
        notes TEXT NOT NULL)""",
    "CREATE TABLE decisions (shot_start INTEGER PRIMARY KEY, decision TEXT NOT NULL)",
    """CREATE TABLE attempts (
        start INTEGER NOT NULL, stop INTEGER NOT NULL CHECK (stop > start),
        begun INTEGER NOT NULL, finished INTEGER NOT NULL, PRIMARY KEY (start, stop))""",
    """CREATE TABLE segments (
        start INTEGER NOT NULL, stop INTEGER NOT NULL,
        file_name TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,
        computed_seconds REAL NOT NULL, notes TEXT NOT NULL,
        PRIMARY KEY (start, stop), FOREIGN KEY (start, stop) REFERENCES attempts)""",
    """CREATE TABLE joined (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        file_name TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL)""",
    """CREATE TABLE finished (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        output_name TEXT NOT NULL, size_bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
        finished_at TEXT NOT NULL, outcome_json TEXT NOT NULL)""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL)""",
)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A finished segment: frames `[start, stop)`, its file, and how long its computation took."""

    start: int
    stop: int
    file_name: str
    size_bytes: int
    sha256: str
    computed_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a segment's computation was begun, and how often it was finished and recorded."""

    begun: int
    finished: int


@dataclass(frozen=True, slots=True)
class JoinedRow:
    """The video track that the segments were joined to."""

    file_name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """The published output, and the outcome as JSON. `finished_at` is ISO 8601 with the offset from UTC."""

    output_name: str
    published: FileIdentity
    """Without its hash, which the outcome has."""
    finished_at: str
    outcome_json: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth remembering. `at` is ISO 8601 with the offset from UTC."""

    at: str
    kind: str
    message: str


class Ledger:
    """The record of one job; a context manager, for one thread. It is created where it is missing.

    Args:
        path: its file.
        only_read: nothing will be written, and a run may be at work.

    Every method raises `ResourceError` when the disk is full, `LockedError` when another program keeps the file
    locked, and `OutputError` when it cannot be read or written; the ledger then is as it was before the call.

    Raises:
        UsageError: a newer program has written it.
        ChangedError: an older program has.
        OutputError: it is damaged, or is no ledger.
    """

    def __init__(self, path: Path, *, only_read: bool = False) -> None:
        self._database = Database(
            path,
            _SCHEMA,
            version=SCHEMA_VERSION,
            what="ledger",
            start_over="--fresh starts over",
            only_read=only_read,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def fingerprint(self) -> Mapping[str, str] | None:
        """Return what the job was begun with, in its order; None before `start`."""
        return dict(self._database.rows("SELECT field, value FROM fingerprint ORDER BY position")) or None

    def start(self, fingerprint: Mapping[str, str], *, anew: bool = False) -> None:
        """Record what the job is made from, in the place of what was recorded; `anew` forgets the analysis, too."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM fingerprint")
            if anew:
                connection.execute("DELETE FROM analysis")
            rows = ((field, storable(value)) for field, value in fingerprint.items())
            connection.executemany("INSERT INTO fingerprint (field, value) VALUES (?, ?)", rows)

    def analysis(self) -> Analysis | None:
        """Return what the analysis of the clip gave; None before it is complete."""
        rows = self._database.rows(
            "SELECT time_base, pts, last_duration, cuts, deinterlace, repeats, tints, coded_pts, clock_parts,"
            " decode_errors, missing_seconds, hidden_frames, notes FROM analysis"
        )
        if not rows:
            return None
        time_base, pts, last_duration, cuts, deinterlace, repeats, tints, coded, parts, *rest = rows[0]
        timeline = Timeline(
            Fraction(time_base),
            tuple(json.loads(pts)),
            last_duration,
            tuple(json.loads(cuts)),
            deinterlace,
            tuple(json.loads(repeats)),
            tuple(None if tint is None else Tint(*tint) for tint in json.loads(tints)),
            tuple(json.loads(coded)),
            tuple(ClockPart(position, Fraction(shift)) for position, shift in json.loads(parts)),
        )
        errors, missing, hidden, notes = rest
        return Analysis(timeline, errors, Fraction(missing), hidden, tuple(json.loads(notes)))

    def save_analysis(self, analysis: Analysis) -> None:
        """Record what the analysis of the clip gave."""
        timeline = analysis.timeline
        self._database.write(
            "INSERT OR REPLACE INTO analysis VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            str(timeline.time_base),
            json.dumps(timeline.pts),
            timeline.last_duration,
            json.dumps(timeline.cuts),
            timeline.deinterlace,
            json.dumps(timeline.repeats),
            json.dumps([None if tint is None else dataclasses.astuple(tint) for tint in timeline.tints]),
            json.dumps(timeline.coded_pts),
            json.dumps([(part.position, str(part.shift_seconds)) for part in timeline.clock_parts]),
            analysis.decode_errors,
            str(analysis.missing_seconds),
            analysis.hidden_frames,
            json.dumps(analysis.notes),
        )

    def decisions(self) -> Mapping[int, Decision]:
        """Return what was decided for each shot, by the index of its first frame, as far as it was."""
        rows = self._database.rows("SELECT shot_start, decision FROM decisions")
        return {shot_start: Decision(**json.loads(decision)) for shot_start, decision in rows}

    def save_decision(self, shot_start: int, decision: Decision) -> None:
        """Record what was decided for a shot."""
        text = json.dumps(dataclasses.asdict(decision))
        self._database.write("INSERT OR REPLACE INTO decisions VALUES (?, ?)", shot_start, text)

    def count_attempt(self, start: int, stop: int) -> int:
        """Record that the computation of a segment begins; return how often it has begun, this time included."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "INSERT INTO attempts VALUES (?, ?, 1, 0) ON CONFLICT DO UPDATE SET begun = begun + 1 RETURNING begun",
                (start, stop),
            ).fetchall()
            return int(rows[0][0])

    def attempts(self) -> Mapping[tuple[int, int], Attempts]:
        """Return the counts of all segments that were ever begun; forgetting a segment keeps its counts."""
        rows = self._database.rows("SELECT start, stop, begun, finished FROM attempts ORDER BY start, stop")
        return {(start, stop): Attempts(begun, finished) for start, stop, begun, finished in rows}

    def segments(self) -> Mapping[tuple[int, int], SegmentRow]:
        """Return the finished segments by `(start, stop)`, in the order of the clip."""
        rows = self._database.rows(
            "SELECT start, stop, file_name, size_bytes, sha256, computed_seconds, notes FROM segments"
            " ORDER BY start, stop"
        )
        return {
            (start, stop): SegmentRow(start, stop, file_name, size_bytes, sha256, seconds, tuple(json.loads(notes)))
            for start, stop, file_name, size_bytes, sha256, seconds, notes in rows
        }

    def save_segment(self, row: SegmentRow) -> None:
        """Record a finished segment, in the place of an earlier record of it."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO attempts VALUES (?, ?, 1, 1) ON CONFLICT DO UPDATE SET finished = finished + 1",
                (row.start, row.stop),
            )
            values = (*dataclasses.astuple(row)[:6], json.dumps(row.notes))
            connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def forget_segment(self, start: int, stop: int) -> None:
        """Delete the record of a segment whose file is no longer what was recorded."""
        self._database.write("DELETE FROM segments WHERE start = ? AND stop = ?", start, stop)

    def joined(self) -> JoinedRow | None:
        """Return the joined track; None before the join."""
        rows = self._database.rows("SELECT file_name, size_bytes, sha256 FROM joined")
        return JoinedRow(*rows[0]) if rows else None

    def save_joined(self, row: JoinedRow) -> None:
        """Record the joined track."""
        self._database.write("INSERT OR REPLACE INTO joined VALUES (1, ?, ?, ?)", *dataclasses.astuple(row))

    def finished(self) -> FinishedRow | None:
        """Return the published output; None before it is there."""
        rows = self._database.rows(
            "SELECT output_name, size_bytes, modified_ns, finished_at, outcome_json FROM finished"
        )
        if not rows:
            return None
        name, size_bytes, modified_ns, *rest = rows[0]
        return FinishedRow(name, FileIdentity(size_bytes, modified_ns), *rest)

    def save_finished(self, row: FinishedRow) -> None:
        """Record the published output."""
        published = (row.published.size_bytes, row.published.modified_ns)
        values = (row.output_name, *published, row.finished_at, row.outcome_json)
        self._database.write("INSERT OR REPLACE INTO finished VALUES (1, ?, ?, ?, ?, ?)", *values)

    def note(self, kind: str, message: str) -> None:
        """Append an event, with the time of now."""
        at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._database.write("INSERT INTO events (at, kind, message) VALUES (?, ?, ?)", at, kind, message)

    def events(self) -> tuple[Event, ...]:
        """Return all events, oldest first."""
        return tuple(Event(*row) for row in self._database.rows("SELECT at, kind, message FROM events ORDER BY id"))
