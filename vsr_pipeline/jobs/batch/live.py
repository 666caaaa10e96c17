"""What views of a batch that is at work are fed with: events go to the queue, and how far it is to one small file."""

import json
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vsr_pipeline.errors import VsrError
from vsr_pipeline.jobs.batch.rows import EventKind
from vsr_pipeline.jobs.batch.table import Table, timestamp
from vsr_pipeline.jobs.report.outcome import WorkerOutcome
from vsr_pipeline.runtime.files import WORK_FOLDER, replace_text, write_text
from vsr_pipeline.runtime.progress import Advanced, Event, Finished, Noted, Saved, Sink, Started, Warned

LOG = "batch.log"
PROGRESS = "progress.json"
WORKERS = "workers.json"
_SECONDS_BETWEEN_WRITES = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipProgress:
    """How far the piece of work is that is done on a clip."""

    clip: str
    """As `QueueRow.clip`."""
    what: str
    """Such as "analyse holiday.mp4", "enhance holiday.mp4"."""
    done: int
    """Of `unit`, in this piece of work: frames that an earlier run has made are not in it."""
    total: int
    """0: not known."""
    unit: str
    per_second: float
    """Mean since the piece of work began; of frames, this is the fps. 0: nothing is done yet."""
    elapsed_seconds: float
    left_seconds: float | None
    """At that speed; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """How far a batch is that is at work."""

    clips: tuple[ClipProgress, ...]
    """Those that are worked on, in the order in which they were begun: several with Ray, one without, or none yet."""
    clips_done: int
    """Clips of this run that have come to their end, whichever."""
    clips_total: int
    at: str
    """When that was written, ISO 8601 with the offset from UTC."""
    machine: str
    boot_id: str
    pid: int
    """Of the batch's process on that machine."""


def progress_of(output: Path) -> BatchProgress | None:
    """Return how far the batch is that is at work in an output folder, as of about a second ago.

    None where none is: after a kill, the file is still there, but the process that it names is not. Of a batch on
    another machine, only `at` tells.
    """
    try:
        progress = _PROGRESS.validate_json((output / WORK_FOLDER / PROGRESS).read_bytes())
    except (OSError, ValidationError):
        return None
    is_here = progress.machine == platform.node()
    return None if is_here and (progress.boot_id != boot_id() or not _is_process(progress.pid)) else progress


def _is_process(pid: int) -> bool:
    """Whether there is a process of this number; on Windows, nobody can ask without harm."""
    try:
        if os.name != "nt":
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is another user's
    return True


def save_workers(output: Path, workers: tuple[WorkerOutcome, ...]) -> None:
    """Write down what the workers have done so far, for whoever asks while the batch is at work.

    Raises:
        OutputError, DiskFullError: it cannot be written.
    """
    write_text(output / WORK_FOLDER / WORKERS, _WORKERS.dump_json(workers, indent=1).decode())


def workers_of(output: Path) -> tuple[WorkerOutcome, ...]:
    """Return what the workers of the last run have done, also while it is at work; nothing where there were none."""
    try:
        return _WORKERS.validate_json((output / WORK_FOLDER / WORKERS).read_bytes())
    except (OSError, ValidationError):
        return ()


def boot_id() -> str:
    """Return what names the time since the machine was started; empty where the system does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


@dataclass(slots=True)
class _Work:
    started: Started
    began: float
    done: float = 0.0

    def progress(self, clip: str) -> ClipProgress:
        seconds, total = time.monotonic() - self.began, self.started.total
        done = max(0, round(self.done))
        rate = self.done / seconds if seconds > 0 and self.done > 0 else 0.0
        return ClipProgress(
            clip=clip,
            what=self.started.what,
            done=done,
            total=total,
            unit=self.started.unit,
            per_second=round(rate, 3),
            elapsed_seconds=round(seconds, 1),
            left_seconds=round((total - self.done) / rate, 1) if rate and total >= done else None,
        )


class Live:
    """Sinks for the events of a batch. What cannot be written is lost: the work matters more than its views.

    Args:
        queue: the file of the queue.
        output: the batch's output folder.
    """

    def __init__(self, queue: Path, output: Path) -> None:
        self._table = Table(queue, only_read=False)
        self._path = output / WORK_FOLDER / PROGRESS
        self._lock = threading.RLock()
        self._works: dict[str, _Work] = {}
        self._clips = (0, 0)
        self._written = 0.0
        self._waiting: list[tuple[EventKind, str, str]] = []
        self._noted = 0.0

    def close(self) -> None:
        """Say that no batch is at work any more."""
        with self._lock, suppress(VsrError):
            self._path.unlink(missing_ok=True)
            self._flush()
        self._table.close()

    def counted(self, done: int, total: int) -> None:
        """Say how many clips have come to their end, and of how many."""
        with self._lock, suppress(VsrError):
            self._clips = (done, total)
            self._write()

    def of(self, clip: str) -> Sink:
        """Return what hears the events of a clip, from any thread; of the whole batch where it is empty."""

        def sink(event: Event) -> None:
            with self._lock, suppress(VsrError):
                self._hear(clip, event)

        return sink

    def _hear(self, clip: str, event: Event) -> None:
        match event:
            case Advanced(amount):
                if clip in self._works:
                    self._works[clip].done += amount
                    self._write(_SECONDS_BETWEEN_WRITES)
            case Started(what):
                self._works |= {clip: _Work(event, time.monotonic())} if clip else {}
                self._note("started", clip, what)
                self._write()
            case Finished():
                work = self._works.pop(clip, None)
                self._note("finished", clip, work.started.what if work is not None else "")
                self._write()
                self._flush()  # before the queue says what became of the clip
            case Saved():
                self._note("saved", clip, "")
            case Noted(message):
                self._note("noted", clip, message)
            case Warned(message):
                self._note("warned", clip, message)
        if time.monotonic() > self._noted + _SECONDS_BETWEEN_WRITES:
            self._flush()

    def _note(self, kind: EventKind, clip: str, message: str) -> None:
        self._waiting.append((kind, clip, message))

    def _flush(self) -> None:
        """Write the events that wait into the queue, in one transaction: each waits for the disk."""
        waiting, self._waiting, self._noted = self._waiting, [], time.monotonic()
        if waiting:
            with self._table.transaction():
                for kind, clip, message in waiting:
                    self._table.note(kind, clip, message)

    def _write(self, seconds_between: float = 0.0) -> None:
        """Write how far the work is, unless that was done a moment ago."""
        if time.monotonic() < self._written + seconds_between:
            return
        self._written = time.monotonic()
        done, total = self._clips
        progress = BatchProgress(
            clips=tuple(work.progress(clip) for clip, work in self._works.items()),
            clips_done=done,
            clips_total=total,
            at=timestamp(),
            machine=platform.node(),
            boot_id=boot_id(),
            pid=os.getpid(),
        )
        replace_text(self._path, json.dumps(_PROGRESS.dump_python(progress, mode="json")))


_PROGRESS = TypeAdapter(BatchProgress)
_WORKERS = TypeAdapter(tuple[WorkerOutcome, ...])
