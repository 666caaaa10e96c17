"""Pictures that are enlarged at once: a queue of its own, in a process that may die, with limits of size and time."""

import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.media.image_headers import fault_of
from vsr_pipeline.media.picture_facts import picture_size
from vsr_pipeline.runtime.files import make_folder, write_failure
from vsr_pipeline.runtime.helper import Helper
from vsr_pipeline.serve.errors import FullError, NotThereError, TooLargeError
from vsr_pipeline.serve.settings_form import refuse_others
from vsr_pipeline.serve.work import enlarge

MOST_WAITING = 8
MAX_BYTES = 64 * 1024**2
MAX_MEGAPIXELS = 32
"""Of the picture that is given."""
SECONDS = 300.0
_KEPT_SECONDS = 3600.0
_ID = re.compile(r"[0-9a-f]{32}")
_KINDS = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
}
TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".tif": "image/tiff",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}
_RESULTS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/tiff": ".tif"}


@dataclass(frozen=True, slots=True)
class Enlarged:
    """A picture that was enlarged. `id` names it in URLs."""

    id: str
    path: Path
    width: int
    height: int


class Pictures:
    """Enlarges pictures, one after the other, and keeps the results for an hour.

    Args:
        folder: where they lie meanwhile.
        helper: computes.
        config_path: settings of the batch.
        batch_runs: whether the batch is at work, which needs the device: then pictures are computed on the CPU.
    """

    def __init__(self, folder: Path, helper: Helper, config_path: Path | None, batch_runs: Callable[[], bool]) -> None:
        self._config_path = config_path
        self._batch_runs = batch_runs
        self._folder = folder
        self._helper = helper
        self._places = threading.BoundedSemaphore(MOST_WAITING)

    def enlarge(self, content: bytes, chosen: Mapping[str, Any], *, wanted: str = "image/png") -> Enlarged:
        """Enlarge a picture.

        Args:
            content: an encoded picture.
            chosen: `model`, `scale` and the like.
            wanted: the type of the result.

        Raises:
            FullError: too many wait already.
            TooLargeError: it has too many bytes or pixels.
            InputError: it is no picture that can be read.
            UsageError, ConfigError, ModelError: a setting or the type cannot be meant.
            ResourceError: it took too long, or ended the process.
        """
        if wanted not in _RESULTS:
            raise UsageError(f"{wanted!r} cannot be made: allowed are {', '.join(_RESULTS)}")
        refuse_others(chosen)
        suffix = checked_kind(content)
        if not self._places.acquire(blocking=False):
            raise FullError("too many pictures wait: try again later")
        try:
            self.delete_old()
            picture_id = secrets.token_hex(16)
            place = make_folder(self._folder / picture_id)
            before, after = place / f"before{suffix}", place / f"after{_RESULTS[wanted]}"
            try:
                before.write_bytes(content)
            except OSError as error:
                raise write_failure(before, error) from error
            work = partial(enlarge, before, after, dict(chosen), self._config_path, on_cpu=self._batch_runs())
            width, height = self._helper.call(work, what="the picture", seconds=SECONDS)
            return Enlarged(picture_id, after, width, height)
        finally:
            self._places.release()

    def file(self, picture_id: str, which: str) -> Path:
        """Return a picture that is kept: `before` or `after`.

        Raises:
            NotThereError: there is none.
        """
        if not _ID.fullmatch(picture_id) or which not in ("before", "after"):
            raise NotThereError("there is no such picture")
        found = next((self._folder / picture_id).glob(f"{which}.*"), None)
        if found is None or found.suffix not in TYPES:
            raise NotThereError("there is no such picture")
        return found

    def delete(self, picture_id: str) -> None:
        """Delete a picture and its result."""
        if _ID.fullmatch(picture_id):
            shutil.rmtree(self._folder / picture_id, ignore_errors=True)

    def delete_old(self) -> None:
        """Delete what was kept for long enough."""
        with suppress(FileNotFoundError):
            for place in self._folder.iterdir():
                if time.time() - place.stat().st_mtime > _KEPT_SECONDS:
                    self.delete(place.name)


def checked_kind(content: bytes) -> str:
    """Return the suffix of an encoded picture, from its first bytes; nothing is decoded.

    Raises:
        TooLargeError: it has too many bytes or pixels.
        InputError: it is no picture, its size cannot be read, it is cut off, or it is animated.
    """
    if len(content) > MAX_BYTES:
        raise TooLargeError(f"the picture has {len(content)} bytes: at most {MAX_BYTES} are taken")
    suffix = next((suffix for start, suffix in _KINDS.items() if content.startswith(start)), "")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        suffix = ".webp"
    if not suffix:
        raise InputError("this is no picture: allowed are PNG, JPEG, WebP, TIFF and BMP")
    size = picture_size(content)
    if size is None or min(size) < 1:
        raise InputError("the picture cannot be read: its header is damaged")
    if size[0] * size[1] > MAX_MEGAPIXELS * 1_000_000:
        raise TooLargeError(f"the picture has {size[0]}x{size[1]} pixels: at most {MAX_MEGAPIXELS} million are taken")
    if fault_of(content) is not None:
        raise InputError("the picture is cut off, or holds several pictures: give one whole picture")
    return suffix
