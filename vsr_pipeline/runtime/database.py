"""A SQLite file that a power cut leaves in the state of some moment before it, and failures that a user understands.

It has a rollback journal, because a write-ahead log needs memory that all programs share, and so works on one machine
only: the output's folder may be on a network. To start over, delete the file before its journal: SQLite ignores a
journal without its file.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vsr_pipeline.errors import ChangedError, DiskFullError, LockedError, OutputError, UsageError, VsrError
from vsr_pipeline.runtime.files import make_folder, scratch, sync, write_failure

Value = str | int | float | None
Migration = Callable[[sqlite3.Connection], None]
"""Converts the tables of one version of a schema to those of the next."""

JOURNALS = ("-journal", "-wal", "-shm")
"""Ends of the names of what may lie beside a file; the last two are of versions before, with a write-ahead log."""

# Only a reader such as `--status` shares the file with the run that holds the lock. It waits for one transaction, and
# the run for one query; but on a network, locks may come late.
_BUSY_SECONDS = 30.0
# More than the page and the index that SQLite could not write.
_PROBE_BYTES = 1 << 17


def storable(value: Value) -> Value:
    """A value that SQLite takes: in text, what is no Unicode (bytes of file names) becomes an escape."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


class Database:
    """One file, for one thread at a time. Each `write` is one transaction, on disk when the call returns.

    Every method raises `DiskFullError` when the disk is full, `LockedError` when another program keeps the file
    locked, and `OutputError` when it cannot be read, written or locked; the file then is as it was before the call.

    Raises:
        UsageError: a newer program has written it.
        ChangedError: an older program has, with tables that cannot be converted.
        OutputError: it is damaged, or is something else.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        *,
        version: int,
        what: str,
        start_over: str,
        only_read: bool = False,
        migrations: Mapping[int, Migration] | None = None,
    ) -> None:
        """Open the file, or create it with the statements of `schema`.

        Args:
            path: the file.
            schema: what creates the tables.
            version: of the schema; a file with another one is converted, or refused.
            what: the file is called so in messages.
            start_over: how a user gets rid of the file, for messages.
            only_read: nothing will be written, and another program may be writing. What an older one has written is
                converted in memory alone: it may be at work.
            migrations: what converts the tables of a version to those of the next one.
        """
        self._path = path
        self._what = what
        self._start_over = start_over
        self._only_read = only_read
        make_folder(path.parent)
        with self._translated():
            # Whoever shares it among threads sees to it that one uses it at a time.
            self.connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._translated():
                self._prepare(schema, version, migrations or {})
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the file; a run that has ended leaves no journal beside it."""
        if not self._only_read:
            with suppress(sqlite3.Error):  # an empty journal does no harm
                self.connection.execute("PRAGMA journal_mode = DELETE")
        self.connection.close()

    def rows(self, query: str, *values: Value) -> list[Any]:
        """Return all rows of a query."""
        with self._translated():
            return self.connection.execute(query, values).fetchall()

    def write(self, statement: str, *values: Value) -> None:
        """Run one statement as a transaction."""
        with self.transaction() as connection:
            connection.execute(statement, [storable(value) for value in values])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it is recorded, or nothing."""
        connection = self.connection
        with self._translated():
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk can have ended the transaction already.
                with suppress(sqlite3.Error):  # why the transaction ends is what matters
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise

    def _prepare(self, schema: Sequence[str], version: int, migrations: Mapping[int, Migration]) -> None:
        """Check the file before anything is written to it; then set it up."""
        found = [row[0] for row in self.connection.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise self._damaged(found[0])
        # In one statement: another program may create the tables in this moment.
        written, tables = self.connection.execute(
            "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
        ).fetchone()
        if written > version:
            raise UsageError(
                f"{self._path} was written by a newer vsr (schema {written}, this one knows {version}): "
                f"continue with that program; {self._start_over}"
            )
        if 0 < written < version and written not in migrations:
            raise ChangedError(
                f"{self._path} was written by an older vsr (schema {written}, this one has {version}): "
                f"continue with that program; {self._start_over}"
            )
        if written == 0 and tables:
            raise self._damaged("it holds other tables")
        if self._only_read and 0 < written < version:
            self._copy_to_memory()
        elif self._only_read and written:
            return  # another program may write in the journal mode of a version before, which a change would disturb
        # The journal is emptied and that is synced, which makes a transaction durable without syncing the folder. A
        # file that a version before has left with a write-ahead log is converted.
        self.connection.execute("PRAGMA journal_mode = TRUNCATE")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        if written < version:
            with self.transaction() as connection:
                written = connection.execute("PRAGMA user_version").fetchone()[0]  # another program may be faster
                for statement in schema if written == 0 else ():
                    connection.execute(statement)
                for old in range(written or version, version):
                    migrations[old](connection)
                connection.execute(f"PRAGMA user_version = {version}")

    def _copy_to_memory(self) -> None:
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.backup(copy)
        self.connection.close()
        self.connection = copy

    @contextmanager
    def _translated(self) -> Iterator[None]:
        path = self._path
        try:
            yield
        except sqlite3.DatabaseError as error:
            # SQLite's low byte is the kind of failure; the bytes above it are details.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFullError(
                    f"no space left while writing {path}: free some and run the same command again"
                ) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise LockedError(f"another program keeps {path} locked: run again when it has ended") from error
            if code in (sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS):
                raise OutputError(
                    f"the file system of {path} does not lock files as it must ({error}): mount it with locks, or "
                    "choose an --output on another one"
                ) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._damaged(str(error)) from error
            if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise self._write_failure(error) from error
            raise

    def _write_failure(self, error: sqlite3.Error) -> VsrError:
        """Find out why SQLite cannot write: it does not tell a full disk from other failures, a write does."""
        try:
            with scratch(self._path) as probe:
                probe.write_bytes(bytes(_PROBE_BYTES))
                sync(probe)
        except OSError as reason:
            return write_failure(self._path, reason)
        except VsrError as reason:
            return reason
        return OutputError(f"cannot use {self._path} ({error}): make it writable; {self._start_over}")

    def _damaged(self, found: str) -> OutputError:
        reason = " ".join(found.split())
        return OutputError(f"{self._path} is damaged or is no {self._what} ({reason}): {self._start_over}")
