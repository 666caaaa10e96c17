"""Files that are being uploaded: a folder each, with what was announced and what has arrived.

What is on the disk is all that is known: the size of `data` is the offset from which an upload goes on, also after
`kill -9` of the server. Ids are made here; names that clients give are only shown, and cleaned for the inbox.
"""

import datetime
import json
import os
import re
import secrets
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vsr_pipeline.errors import DiskFullError, UsageError
from vsr_pipeline.runtime.files import make_folder, sync, write_failure, write_text
from vsr_pipeline.runtime.progress import size_text
from vsr_pipeline.serve.errors import NotThereError, TooLargeError, TooManyError
from vsr_pipeline.stages.workspace import VIDEO_SUFFIXES

KEPT_FOR = datetime.timedelta(days=7)
"""Since the last byte; then an upload that was not taken into the queue is deleted."""
PIECE_BYTES = 16 * 1024**2
"""What a browser sends at once; other clients do as they like."""
MOST_UPLOADS = 200
_FREE_BYTES_LEFT = 1000**3
_NAME_BYTES = 120
_NONE = "there is no such upload"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What the header of a clip says; zeros: it does not."""

    width: int
    height: int
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    codec: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file. `name` is what the client calls it, cleaned."""

    id: str
    name: str
    length: int
    """Bytes that will have come."""
    offset: int
    """Bytes that are on the disk."""
    changed_at: datetime.datetime
    reason: str = ""
    """Why it is no clip; empty: it is one, or was not looked at."""
    facts: "ClipFacts | None" = None
    """What was found in it after the last byte; None: it is no clip, or was not looked at."""

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are here."""
        return self.offset == self.length

    @property
    def is_checked(self) -> bool:
        """Whether it was looked at after the last byte."""
        return bool(self.reason) or self.facts is not None

    @property
    def expires_at(self) -> datetime.datetime:
        """When it is deleted if nothing happens."""
        return self.changed_at + KEPT_FOR


class Uploads:
    """The uploads of one folder. Only the server writes there, and each file from one request at a time.

    Args:
        folder: where they lie.
        max_bytes: of one file.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.max_bytes = max_bytes

    def begin(self, name: str, length: int) -> Upload:
        """Make room for a file.

        Raises:
            UsageError: its name is not that of a video.
            TooLargeError, TooManyError: it is too large, or there are too many.
            DiskFullError: the disk has no room for it and what the others still need.
            OutputError: the folder cannot be written.
        """
        shown = clean_name(name)
        suffixes = VIDEO_SUFFIXES.split()
        if Path(shown).suffix.lower() not in suffixes:
            raise UsageError(f"{shown} is no video by its name: allowed are {' '.join(suffixes)}")
        if length > self.max_bytes:
            raise TooLargeError(f"{size_text(length)} are too large: at most {size_text(self.max_bytes)} are taken")
        with self._lock:  # of two that come at once, the second one counts the first
            return self._begin(shown, length)

    def _begin(self, shown: str, length: int) -> Upload:
        make_folder(self._folder)
        count = sum(1 for _ in self._folder.iterdir())  # quick, for a client that begins without end
        if count >= MOST_UPLOADS:
            raise TooManyError(f"there are {count} uploads already: add them to the queue, or delete some")
        others = tuple(self.all())
        missing = length + sum(other.length - other.offset for other in others)
        free = shutil.disk_usage(self._folder).free - _FREE_BYTES_LEFT
        if missing > free:
            raise DiskFullError(
                f"no room: {size_text(missing)} are to come and {size_text(max(0, free))} are free; free some space"
            )
        upload_id = secrets.token_hex(16)
        place = self._folder / upload_id
        try:
            place.mkdir(mode=0o700)
            (place / "data").touch(mode=0o600)
        except OSError as error:
            raise write_failure(place, error) from error
        write_text(place / "info.json", json.dumps({"name": shown, "length": length}))
        return self.get(upload_id)

    def get(self, upload_id: str) -> Upload:
        """Return what is known of an upload.

        Raises:
            NotThereError: there is none of this id.
        """
        if not _ID.fullmatch(upload_id):
            raise NotThereError(_NONE)
        place = self._folder / upload_id
        try:
            info = json.loads((place / "info.json").read_text(encoding="utf-8"))
            status = (place / "data").stat()
        except (OSError, ValueError) as error:
            raise NotThereError(_NONE) from error
        found: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            found = json.loads((place / "checked.json").read_text(encoding="utf-8"))
        return Upload(
            id=upload_id,
            name=info["name"],
            length=info["length"],
            offset=status.st_size,
            changed_at=datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC),
            reason=found.get("reason", ""),
            facts=ClipFacts(**found["facts"]) if found.get("facts") else None,
        )

    def all(self) -> Iterator[Upload]:
        """Yield all uploads, the newest first."""
        found = []
        with suppress(FileNotFoundError):
            for place in self._folder.iterdir():
                with suppress(NotThereError):
                    found.append(self.get(place.name))
        yield from sorted(found, key=lambda upload: upload.changed_at, reverse=True)

    def data(self, upload_id: str) -> Path:
        """Return the file of an upload that `get` knows."""
        return self._folder / self.get(upload_id).id / "data"

    def set_length(self, upload_id: str, length: int) -> None:
        """Record how long a file is, where that was not known when it began.

        Raises:
            NotThereError: there is none of this id.
            OutputError, DiskFullError: it cannot be written.
        """
        info = {"name": self.get(upload_id).name, "length": length}
        write_text(self.data(upload_id).with_name("info.json"), json.dumps(info))

    def save_checked(self, upload_id: str, found: ClipFacts | str) -> None:
        """Record what a look at a complete file has found, or why it is no clip.

        Raises:
            NotThereError: there is none of this id.
            OutputError, DiskFullError: it cannot be written.
        """
        said = {"reason": found} if isinstance(found, str) else {"facts": asdict(found)}
        write_text(self.data(upload_id).with_name("checked.json"), json.dumps(said))

    def delete(self, upload_id: str) -> None:
        """Delete an upload.

        Raises:
            NotThereError: there is none of this id.
        """
        shutil.rmtree(self.data(upload_id).parent, ignore_errors=True)

    def delete_expired(self) -> None:
        """Delete what nobody went on with, and what was begun and never recorded."""
        now = datetime.datetime.now(datetime.UTC)
        with suppress(FileNotFoundError):
            for place in tuple(self._folder.iterdir()):
                try:
                    end = self.get(place.name).expires_at
                except NotThereError:
                    end = datetime.datetime.fromtimestamp(place.stat().st_mtime, datetime.UTC) + KEPT_FOR
                if end < now:
                    shutil.rmtree(place, ignore_errors=True)

    def publish(self, upload_id: str, inbox: Path) -> Path:
        """Move a complete file into the inbox, under a name that is free there; the upload is gone then.

        Raises:
            NotThereError: there is none of this id.
            UsageError: it is not complete, or is no clip.
            OutputError, DiskFullError: the inbox cannot be written.
        """
        upload = self.get(upload_id)
        if upload.facts is None:
            raise UsageError(f"{upload.name} cannot be taken: {upload.reason or 'it is not complete'}")
        data = self.data(upload_id)
        make_folder(inbox)
        name = Path(upload.name)
        number = 1
        while True:
            target = inbox / (upload.name if number == 1 else f"{name.stem} ({number}){name.suffix}")
            try:
                os.link(data, target)  # unlike a rename, it replaces nothing
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise write_failure(target, error) from error
        target.chmod(0o644)
        sync(inbox)
        shutil.rmtree(data.parent, ignore_errors=True)
        return target


def clean_name(name: str) -> str:
    """Return a client's name for a file as a name that can lie in a folder and be shown.

    What is before the last slash of any kind, what cannot be printed, and what some file systems refuse is left out.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*').strip(" .")
    stem, suffix = os.path.splitext(kept)  # noqa: PTH122 - `Path` would take "." and ".." as something else
    room = _NAME_BYTES - len(suffix.encode())
    stem = stem.encode()[: max(room, 1)].decode(errors="ignore").strip(" .")
    return (stem or "clip") + suffix[:20]
