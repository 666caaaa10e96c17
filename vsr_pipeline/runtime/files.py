"""Files that appear only when they are complete: temporary name in the same folder, fsync, rename."""

import errno
import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vsr_pipeline.errors import DiskFullError, InputError, OutputError, ReadError, VsrError

WORK_FOLDER = ".vsr"
"""Beside outputs: what is known of the work on them."""

_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """By what a file is known again: its size and time, for which nothing is read, and its hash where it was read."""

    size_bytes: int
    """0: it is a folder."""
    modified_ns: int
    sha256: str = ""
    """Hexadecimal; empty: it was not read."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file, or a folder; nothing is read.

        Raises:
            OSError: it is not there, or cannot be looked at.
        """
        return cls.of_status(path.stat())

    @classmethod
    def of_status(cls, status: os.stat_result) -> Self:
        """Take what was seen of a file."""
        return cls(0 if stat.S_ISDIR(status.st_mode) else status.st_size, status.st_mtime_ns)

    def is_untouched(self, path: Path) -> bool:
        """Whether a file is there and has this size and time.

        Raises:
            OSError: it cannot be looked at.
        """
        try:
            now = FileIdentity.of(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (now.size_bytes, now.modified_ns) == (self.size_bytes, self.modified_ns)

    def is_same_content(self, path: Path) -> bool:
        """Whether a file is there and has this size and hash; it is read if the size is the same.

        Raises:
            OSError: it cannot be read.
        """
        return (
            bool(self.sha256)
            and path.is_file()
            and path.stat().st_size == self.size_bytes
            and file_sha256(path) == self.sha256
        )


def write_failure(path: Path, error: OSError) -> VsrError:
    """Turn an `OSError` from writing `path` into the error that a user can act on."""
    if error.errno in _OUT_OF_SPACE:
        return DiskFullError(f"no space left while writing {path}: free some and run the same command again")
    return OutputError(f"cannot write {path}: {error.strerror or error}; choose another place or make it writable")


def read_failure(path: Path, error: OSError) -> InputError:
    """Turn an `OSError` from reading `path` into the error that a user can act on."""
    if error.errno in _REFUSED:
        return InputError(f"cannot read {path}: {error.strerror or error}")
    return ReadError(
        f"cannot read {path}: {error.strerror or error}; see that its disk or network works, and run again"
    )


@contextmanager
def refusals_as_errors() -> Iterator[None]:
    """Turn what the file system refuses about a name inside the block into an error that a user can act on.

    A name may be too long, a folder closed to this user, a link lead to itself, a disk not answer: wherever a file is
    looked at.

    Raises:
        OutputError: in the place of an `OSError` that says which file it is about.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        name = os.fsdecode(error.filename)
        raise OutputError(
            f"cannot use {name}: {error.strerror or error}; name another, or make it accessible"
        ) from error


def refuse_to_replace(source: Path, output: Path) -> None:
    """Refuse an output in the place of what it is made from.

    Raises:
        OutputError: they are one file, whatever links lead to it.
    """
    if os.path.realpath(output) == os.path.realpath(source):  # `Path.resolve` fails where a link leads to itself
        raise OutputError(f"the output would replace its own source {source}: choose another --output")


def check_file(path: Path) -> None:
    """Refuse what is no file that can be read; nothing of it is looked at.

    Raises:
        InputError: as `status_of_file`, or it is closed to this user.
    """
    status_of_file(path)
    try:
        path.open("rb").close()
    except OSError as error:
        raise read_failure(path, error) from error


def status_of_file(path: Path) -> os.stat_result:
    """Return the status of a file.

    Raises:
        InputError: it is missing, empty, a folder, no regular file, or cannot be looked at.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"no such file: {path}") from error
    except OSError as error:
        raise read_failure(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"cannot read {path}: {error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a folder; a video file is wanted here")
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for a writer
        raise InputError(f"{path} is no regular file; save the video to a file first")
    if status.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes)")
    return status


def make_folder(folder: Path) -> Path:
    """Create `folder` and its parents where they are missing.

    Raises:
        OutputError: it cannot be created, or something that is not a folder has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(folder, error) from error
    return folder


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix (encoders choose the container by it); then delete it.

    Raises:
        OutputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise write_failure(path, error) from error
    temporary = Path(name)
    _LIVE.add(temporary)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _LIVE.discard(temporary)


def delete_scratch() -> None:
    """Delete all temporaries of this process: for its last breath, when the blocks that own them cannot end."""
    for temporary in tuple(_LIVE):
        with suppress(OSError):  # nothing may keep the process from ending
            temporary.unlink(missing_ok=True)


_LIVE: set[Path] = set()
# It can only be read by changing it, for all threads of the process.
_UMASK = threading.Lock()


@contextmanager
def published(path: Path, *, scratch_folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; on success it is synced to disk and takes the name `path`.

    When the block fails, for whatever reason, the temporary is deleted and `path` stays as it was.

    Args:
        path: the name that appears when the file is complete.
        scratch_folder: folder of the temporary, on the same file system as `path`; by default that of `path`.

    Raises:
        OutputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    if scratch_folder is not None:
        make_folder(path.parent)
    with scratch((scratch_folder or path.parent) / path.name) as temporary:
        try:
            yield temporary
            # mkstemp makes files private; an output has the permissions that any new file would have.
            with _UMASK:
                umask = os.umask(0)
                os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        except OSError as error:
            raise write_failure(path, error) from error


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle on a folder to sync
    # Windows flushes only what may be written through the handle; a folder can be opened for reading only.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        OutputError, ResourceError: as `published`.
    """
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Replace a text file atomically, and let the system write it to disk when it likes: for what is soon outdated.

    Raises:
        OutputError, ResourceError: as `published`.
    """
    with scratch(path) as temporary:
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise write_failure(path, error) from error


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
