"""The queue of a batch: one SQLite file per output folder that says what became of each clip."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import TypeAdapter, ValidationError

from vsr_pipeline.errors import OutputError
from vsr_pipeline.jobs.report.outcome import ClipOutcome, WorkerOutcome
from vsr_pipeline.runtime.database import Database
from vsr_pipeline.runtime.files import FileIdentity, write_text

SCHEMA_VERSION = 1
_START_OVER = "delete it, and what is finished is recognised by the jobs' own ledgers"

State = Literal["working", "stopped", "done", "failed", "given up"]
"""working: begun, and the run has not come to its end, or was killed; the others are as `ClipOutcome.status`."""

# What is asked of this file is always all that is known of a clip: a row is one JSON value.
_SCHEMA = ("CREATE TABLE clips (clip TEXT PRIMARY KEY, row TEXT NOT NULL)",)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """What is known of a clip. `changed_at` is ISO 8601 with the offset from UTC."""

    clip: str
    """Its path under the batch's folder, with `/`; `output` is the same for the output folder."""
    output: str
    state: State
    source: FileIdentity
    """The source, as it was when the clip was begun."""
    settings: Mapping[str, str]
    """What the clip was begun with."""
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


class Queue:
    """The record of one batch; a context manager, for one thread. It is created where it is missing.

    Args:
        path: its file.
        only_read: nothing will be written, and a batch may be at work.

    Raises:
        UsageError, OutputError, DiskFullError, LockedError: as `Database`, here and in every method.
    """

    def __init__(self, path: Path, *, only_read: bool = False) -> None:
        self._path = path
        self._database = Database(
            path,
            _SCHEMA,
            version=SCHEMA_VERSION,
            what="queue of a batch",
            start_over=_START_OVER,
            only_read=only_read,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def rows(self) -> dict[str, QueueRow]:
        """Return what is known of every clip that was ever begun, by its path, in order."""
        rows = self._database.rows("SELECT clip, row FROM clips ORDER BY clip")
        try:
            return {clip: _ROW.validate_python(json.loads(row)) for clip, row in rows}
        except ValueError as error:
            raise OutputError(f"{self._path} has a row that is not ours: {_START_OVER}") from error

    def save(self, row: QueueRow) -> None:
        """Record what is known of a clip, in the place of what was."""
        # Through `json`, because the folders' names need not be Unicode, and pydantic's own writer takes nothing else.
        text = json.dumps(_ROW.dump_python(row, mode="json"))
        self._database.write("INSERT OR REPLACE INTO clips VALUES (?, ?)", row.clip, text)


def save_workers(path: Path, workers: tuple[WorkerOutcome, ...]) -> None:
    """Write down what the workers have done so far, for whoever asks while the batch is at work.

    Raises:
        OutputError, DiskFullError: it cannot be written.
    """
    write_text(path, _WORKERS.dump_json(workers, indent=1).decode())


def saved_workers(path: Path) -> tuple[WorkerOutcome, ...]:
    """Return what `save_workers` wrote last; nothing where it never did."""
    try:
        return _WORKERS.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return ()


_ROW = TypeAdapter(QueueRow)
_WORKERS = TypeAdapter(tuple[WorkerOutcome, ...])
