"""The file under the queue: rows are read whole, and written column by column, under a condition."""

import datetime
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vsr_pipeline.errors import OutputError
from vsr_pipeline.jobs.batch.rows import (
    COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    EventKind,
    QueueEvent,
    QueueRow,
    Request,
    State,
    columns_of,
    from_version_1,
    row_from,
)
from vsr_pipeline.runtime.database import Database, Value, storable

EVENTS_KEPT = 10_000
"""At least; about a tenth more may be there."""
_START_OVER = "delete it, and what is finished is recognised by the jobs' own ledgers"


class Table:
    """Clips, events and options in one SQLite file; see `Queue`, which owns it, for what raises what."""

    def __init__(self, path: Path, *, only_read: bool) -> None:
        self._path = path
        with self._translated():
            self._database = Database(
                path,
                SCHEMA,
                version=SCHEMA_VERSION,
                what="queue of a batch",
                start_over=_START_OVER,
                only_read=only_read,
                migrations={1: from_version_1},
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction, in which nobody else writes: all of it is recorded, or nothing."""
        with self._translated(), self._database.transaction() as connection:
            yield connection

    def rows(self) -> tuple[QueueRow, ...]:
        """Return all clips."""
        with self._translated():
            return tuple(map(row_from, self._database.rows(f"SELECT {COLUMNS} FROM clips ORDER BY clip")))  # noqa: S608 - names are ours

    def row(self, clip: str) -> QueueRow | None:
        """Return one clip; None: it is not there."""
        with self._translated():
            found = self._database.rows(f"SELECT {COLUMNS} FROM clips WHERE clip = ?", clip)  # noqa: S608 - as above
            return row_from(found[0]) if found else None

    def set(self, clip: str, values: Mapping[str, Value], *, only_if: Sequence[State], request: str | None) -> bool:
        """Set columns of a row, inside a transaction.

        Args:
            clip: which row.
            values: by the names of the columns.
            only_if: the states in which it may be.
            request: what must be asked of it; None: whatever.

        Returns:
            Whether it was so. If not, nothing is changed.
        """
        names = ", ".join(f"{name} = ?" for name in values)
        states = ", ".join("?" for _ in only_if)
        statement = (
            f"UPDATE clips SET {names} WHERE clip = ? AND state IN ({states}) AND request = coalesce(?, request)"  # noqa: S608 - names are ours
        )
        cursor = self._database.connection.execute(statement, (*values.values(), clip, *only_if, request))
        return cursor.rowcount == 1

    def update(self, row: QueueRow, *names: str, only_if: Sequence[State], request: Request | None = None) -> bool:
        """Set columns of a clip as one transaction, as `set` does; a new state is an event, too.

        Args:
            row: has the values.
            names: of the columns.
            only_if: the states in which it may be.
            request: what must be asked of it; None: whatever.
        """
        with self.transaction():
            is_changed = self.set(row.clip, columns_of(row, *names), only_if=only_if, request=request)
            if is_changed and "state" in names:
                self.note("changed", row.clip, row.state)
        return is_changed

    def requests(self) -> dict[str, Request]:
        """Return what is asked of the clips that are worked on."""
        return dict(self._database.rows("SELECT clip, request FROM clips WHERE state = 'working' AND request != ''"))

    def has_changed(self, sequence: int, *, but_for: Sequence[str]) -> bool:
        """Whether a row was changed after an event, other than to these states; also where events are gone."""
        oldest = self._database.rows("SELECT min(sequence) FROM events")[0][0]
        if oldest is not None and oldest > sequence + 1:
            return True
        marks = ", ".join("?" for _ in but_for)
        query = f"SELECT 1 FROM events WHERE sequence > ? AND kind = 'changed' AND message NOT IN ({marks}) LIMIT 1"  # noqa: S608 - marks alone
        return bool(self._database.rows(query, sequence, *but_for))

    def note(self, kind: EventKind, clip: str, message: str) -> None:
        """Append an event, inside a transaction."""
        connection = self._database.connection
        sequence = connection.execute(
            "INSERT INTO events (at, kind, clip, message) VALUES (?, ?, ?, ?)",
            (timestamp(), kind, storable(clip), storable(message)),
        ).lastrowid
        if sequence and sequence % (EVENTS_KEPT // 10) == 0:
            connection.execute("DELETE FROM events WHERE sequence <= ?", (sequence - EVENTS_KEPT,))

    def events_after(self, sequence: int, limit: int) -> tuple[QueueEvent, ...]:
        """Return events; see `Queue.events_after`."""
        found = self._database.rows(
            "SELECT sequence, at, kind, clip, message FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?",
            sequence,
            limit,
        )
        return tuple(
            QueueEvent(sequence=number, at=at, kind=kind, clip=clip, message=message)
            for number, at, kind, clip, message in found
        )

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest event; 0: there is none."""
        return int(self._database.rows("SELECT coalesce(max(sequence), 0) FROM events")[0][0])

    def option(self, name: str) -> str:
        """Return an option of the whole queue; empty: it was never set."""
        rows = self._database.rows("SELECT value FROM options WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def set_option(self, name: str, value: str) -> None:
        """Set an option of the whole queue."""
        self._database.write("INSERT OR REPLACE INTO options VALUES (?, ?)", name, value)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what is wrong with a row into the error that a user can act on."""
        try:
            yield
        except ValueError as error:
            raise OutputError(f"{self._path} has a row that is not ours: {_START_OVER}") from error


def timestamp() -> str:
    """Return the time as ISO 8601 with the offset from UTC."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
