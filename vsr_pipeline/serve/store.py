"""What the pages read and change: the queue, the folder of clips, and files by ids that are made here."""

import hashlib
import os
import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.batch.discovery import find_videos
from vsr_pipeline.jobs.batch.queue import Queue, open_queue
from vsr_pipeline.jobs.batch.rows import QueueRow
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.options import ServeOptions

T = TypeVar("T")

_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/:;,'\"]+/)+")
_NONE = "there is no such file"


class Store:
    """The queue and the files of one folder. Any thread may ask.

    The queue is used by one thread of its own, so that it is opened once.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._open = ExitStack()
        self._queue: Queue | None = None

    def close(self) -> None:
        """Close the queue."""
        with suppress(RuntimeError):
            self._thread.submit(self._close).result()
        self._thread.shutdown()

    def ask(self, question: Callable[[Queue], T]) -> T:
        """Return what a function of the queue returns; it raises what that raises."""
        return self._thread.submit(self._answer, question).result()

    def clip_of(self, clip_id: str) -> str:
        """Return the clip of an id: one of the queue, or a new one of the folder.

        Raises:
            NotThereError: there is none.
        """
        row = self.row_of(clip_id)
        clip = row.clip if row is not None else {id_of(clip): clip for clip in self.new_clips()}.get(clip_id)
        if clip is None:
            raise NotThereError(_NONE)
        return clip

    def row_of(self, clip_id: str) -> QueueRow | None:
        """Return the row of the clip of an id; None: it is not in the queue."""
        return next((row for row in self.ask(lambda queue: queue.list()) if id_of(row.clip) == clip_id), None)

    def clips(self) -> tuple[str, ...]:
        """Return all clips that are in the folder, as paths under it."""
        queued = (row.clip for row in self.ask(lambda queue: queue.list()))
        return tuple(clip for clip in (*queued, *self.new_clips()) if self.has(id_of(clip), "source"))

    def new_clips(self) -> tuple[str, ...]:
        """Return the clips in the folder that the queue does not know, as paths under it."""
        inbox = self._options.inbox
        known = self.ask(lambda queue: queue.rows())
        try:
            found = find_videos(inbox, output=self._options.results, recursive=True)
        except InputError:
            return ()  # a folder in it cannot be read; the batch says so
        names = (path.relative_to(inbox).as_posix() for path in found)
        return tuple(name for name in names if name not in known and name.isprintable())

    def file_of(self, clip_id: str, which: str) -> Path:
        """Return a file of a clip.

        Args:
            clip_id: which clip.
            which: `source`, `result`, or a still, `before` or `after`.

        Raises:
            NotThereError: there is no such file, or it is not in the folder.
        """
        row = self.row_of(clip_id)
        if which == "source":
            return inside(self._options.inbox, self._options.inbox / self.clip_of(clip_id))
        if row is None or not row.output:
            raise NotThereError(_NONE)
        output = self._options.results / row.output
        stills = {"before": row.outcome.before_still, "after": row.outcome.after_still} if row.outcome else {}
        if (still := stills.get(which)) is not None:
            return inside(self._options.results, still)
        if which != "result" or row.outcome is None:
            raise NotThereError(_NONE)
        return inside(self._options.results, output)

    def has(self, clip_id: str, which: str) -> bool:
        """Whether there is such a file of a clip."""
        with suppress(NotThereError):
            return bool(self.file_of(clip_id, which))
        return False

    def shown(self, text: str) -> str:
        """Return a message as a page may show it: of paths outside the folder only the last name."""
        return _PATH.sub("…/", text.replace(f"{self._options.folder}{os.sep}", ""))

    def _answer(self, question: Callable[[Queue], T]) -> T:
        if self._queue is None:
            self._queue = self._open.enter_context(open_queue(self._options.results))
            self._queue.set_folder(self._options.inbox)
        return question(self._queue)

    def _close(self) -> None:
        self._open.close()
        self._queue = None


def id_of(clip: str) -> str:
    """Return the id of a clip in URLs. It tells nothing of the path, and no path can be made from it."""
    return hashlib.sha256(clip.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def inside(folder: Path, path: Path) -> Path:
    """Return a regular file that lies in a folder, whatever links lead to it.

    Raises:
        NotThereError: it is not there, is no file, or lies elsewhere.
    """
    try:
        real = path.resolve(strict=True)
        is_file = stat.S_ISREG(real.stat().st_mode)
    except (OSError, ValueError, RuntimeError) as error:
        raise NotThereError(_NONE) from error
    if not is_file or not real.is_relative_to(folder.resolve()):
        raise NotThereError(_NONE)
    return real
