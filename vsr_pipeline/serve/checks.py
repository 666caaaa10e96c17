"""A look at an upload after its last byte, in a process that may crash: is it a clip, and what does it say."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from vsr_pipeline.clip.footage import look_at
from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import VsrError
from vsr_pipeline.runtime.process import Call
from vsr_pipeline.serve.uploads import ClipFacts, Uploads


class Checks:
    """Looks at complete uploads, one after the other, and records what is found.

    Args:
        uploads: where they are.
        call: opens them in another process.
        shown: turns a message into one that a page may show.
    """

    def __init__(self, uploads: Uploads, call: Call, shown: Callable[[str], str]) -> None:
        self._uploads = uploads
        self._call = call
        self._shown = shown
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._begun: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop what is not begun; the next server does it."""
        self._thread.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Begin to look at what is complete and was not looked at, also what an earlier server has left."""
        for upload in self._uploads.all():
            with self._lock:
                if not upload.is_complete or upload.is_checked or upload.id in self._begun:
                    continue
                self._begun.add(upload.id)
            with suppress(RuntimeError):  # the server ends
                self._thread.submit(self._check, upload.id)

    def _check(self, upload_id: str) -> None:
        try:
            path = self._uploads.data(upload_id)
            try:
                found: ClipFacts | str = self._call(path, partial(clip_facts, path))
            except VsrError as error:
                name = self._uploads.get(upload_id).name
                found = self._shown(str(error).replace(str(path), name)) or "it cannot be read"
            except RuntimeError:
                found = "the process that opened it ended"
            self._uploads.save_checked(upload_id, found)
        except VsrError:
            pass  # it was deleted meanwhile, or the disk is full: then it is looked at again by the next server
        finally:
            self._begun.discard(upload_id)


def clip_facts(path: Path) -> ClipFacts:
    """Return what the header of a clip says.

    Raises:
        InputError, ResourceError: as `look_at`.
    """
    info = look_at(path, InputConfig()).info
    width, height = info.display_size
    rate = float(info.average_frame_rate or 0)
    seconds = float(info.duration_seconds_from_header or 0)
    frames = info.frame_count_from_header or round(seconds * rate)
    return ClipFacts(width=width, height=height, frames=frames, seconds=seconds, fps=rate, codec=info.codec)
