"""Work that was asked for on a page and takes a while: a folder each, with what was asked and what came of it.

Nothing depends on the tab, nor on the server: what an earlier one has not finished is begun anew when somebody looks.
"""

import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr_pipeline.errors import VsrError
from vsr_pipeline.runtime.files import make_folder, write_text
from vsr_pipeline.serve.errors import FullError, NotThereError

Asked = Mapping[str, Any]
Work = Callable[[Path, Asked], Mapping[str, Any]]
"""Does what was asked, in a folder, and returns what came of it; both can be JSON."""

PROGRESS = "progress.json"
MOST_WAITING = 8
_MOST_KEPT = 40
_KEPT_SECONDS = 86_400.0
_ID = re.compile(r"[0-9a-f]{32}")
_ASKED, _DONE = "asked.json", "done.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A piece of work. `id` names it in URLs."""

    id: str
    asked: Asked
    asked_at: float
    """Seconds since 1970."""
    result: Mapping[str, Any] | None = None
    """What came of it; None: nothing yet, or it failed."""
    reason: str = ""
    """Why it failed."""
    progress: Mapping[str, Any]
    """`what`, `done` and `total`; empty: it is not begun, or does not say."""

    @property
    def is_pending(self) -> bool:
        """Whether it waits or is done now."""
        return self.result is None and not self.reason


class Tasks:
    """Tasks of one kind, done one after the other, and kept for a day. Any thread may ask.

    Args:
        folder: where they lie.
        work: does one.
        shown: turns a message into one that a page may show.
        stop: ends the work that is done now, when its task is deleted; it fails then.
    """

    def __init__(
        self, folder: Path, work: Work, shown: Callable[[str], str], stop: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = folder
        self._work = work
        self._shown = shown
        self._stop = stop
        self._now = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=folder.name)
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self._is_closing = False

    def close(self) -> None:
        """Drop what is not done; the next server does it."""
        self._is_closing = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._stop()

    def begin(self, asked: Asked) -> str:
        """Begin a task; return its id.

        Raises:
            FullError: too many wait.
            OutputError, DiskFullError: the folder cannot be written.
        """
        self.delete_old()
        tasks = self.all()
        if sum(task.is_pending for task in tasks) >= MOST_WAITING:
            raise FullError(f"{MOST_WAITING} wait already: try again later")
        for task in [task for task in tasks if not task.is_pending][_MOST_KEPT - 1 :]:
            self.delete(task.id)
        task_id = secrets.token_hex(16)
        place = make_folder(self._folder / task_id)
        write_text(place / _ASKED, json.dumps(dict(asked)))
        self._submit(task_id)
        return task_id

    def get(self, task_id: str) -> Task:
        """Return what is known of a task; one that an earlier server has not finished is begun anew.

        Raises:
            NotThereError: there is none of this id.
        """
        task = self._read(task_id)
        if task.is_pending:
            self._submit(task_id)
        return task

    def all(self) -> tuple[Task, ...]:
        """Return all tasks, the newest first."""
        found = []
        with suppress(FileNotFoundError):
            for place in self._folder.iterdir():
                with suppress(NotThereError):
                    found.append(self._read(place.name))
        return tuple(sorted(found, key=lambda task: task.asked_at, reverse=True))

    def file(self, task_id: str, name: str) -> Path:
        """Return a file that a task has made.

        Raises:
            NotThereError: there is none.
        """
        path = self._folder / self._read(task_id).id / name
        if not path.is_file():
            raise NotThereError("there is no such file")
        return path

    def delete(self, task_id: str) -> None:
        """Delete a task and its files.

        Raises:
            NotThereError: there is none of this id.
        """
        shutil.rmtree(self._folder / self._read(task_id).id, ignore_errors=True)
        if task_id == self._now:
            self._stop()

    def delete_old(self) -> None:
        """Delete what was asked for long ago."""
        for task in self.all():
            if time.time() - task.asked_at > _KEPT_SECONDS:
                with suppress(NotThereError):
                    self.delete(task.id)

    def _read(self, task_id: str) -> Task:
        if not _ID.fullmatch(task_id):
            raise NotThereError("there is no such task")
        place = self._folder / task_id
        asked = _json(place / _ASKED)
        if asked is None:
            raise NotThereError("there is no such task: it may have been deleted after a day")
        try:
            asked_at = (place / _ASKED).stat().st_mtime
        except OSError as error:
            raise NotThereError("there is no such task") from error
        done = _json(place / _DONE) or {}
        progress = {} if done else _json(place / PROGRESS) or {}
        return Task(id=task_id, asked=asked, asked_at=asked_at, progress=progress, **done)

    def _submit(self, task_id: str) -> None:
        with self._lock:
            if task_id in self._begun:
                return
            self._begun.add(task_id)
        with suppress(RuntimeError):  # the server ends
            self._thread.submit(self._do, task_id)

    def _do(self, task_id: str) -> None:
        with suppress(VsrError):  # it was deleted, or the disk is full: the next server tries it again
            place = self._folder / self._read(task_id).id
            self._now = task_id
            _delete_made(place)  # what a server made that was killed
            try:
                done: dict[str, Any] = {"result": dict(self._work(place, self._read(task_id).asked))}
            except VsrError as error:
                done = {"reason": self._shown(" ".join(str(error).split())) or "it failed"}
            except Exception as error:  # noqa: BLE001 - the page must not wait for ever
                done = {"reason": f"a bug: {type(error).__name__}: {self._shown(' '.join(str(error).split()))}"}
            self._now = ""
            if not self._is_closing and place.is_dir():
                if "reason" in done:
                    _delete_made(place)
                write_text(place / _DONE, json.dumps(done))


def _delete_made(place: Path) -> None:
    """Delete what was made of a task: a process that was killed in the middle of it has left files."""
    with suppress(OSError):  # it was deleted
        for path in place.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _ASKED:
                path.unlink()


def _json(path: Path) -> dict[str, Any] | None:
    """Read a file of ours; None: it is not there, or not complete."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None
