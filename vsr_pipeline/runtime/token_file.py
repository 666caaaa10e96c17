"""The token that opens a page of ours, in a file that only its user can read."""

import base64
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.runtime.files import make_folder, sync, write_failure

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits


def make_token() -> str:
    """Return a new token: 256 random bits in 43 characters that a URL may hold."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def token_in(path: Path, *, new: bool = False) -> str:
    """Return the token in a file that only this user can read; make both where there is none.

    Args:
        path: the file.
        new: make another token, whatever is there.

    Raises:
        OutputError, DiskFullError: the file cannot be read or written.
        UsageError: others may read it, or it holds no token.
    """
    make_folder(path.parent)
    if new:
        _write_token(path, replace=True)
    elif not os.path.lexists(path):
        _write_token(path, replace=False)
    repair = "delete it, or give --new-token, to make another"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            text = file.read(1_000).strip()
    except OSError as error:
        raise OutputError(f"cannot read the token in {path}: {error.strerror or error}; {repair}") from error
    except ValueError as error:  # no ASCII
        raise UsageError(f"{path} holds no token; {repair}") from error
    if os.name != "nt" and mode & 0o077:
        raise UsageError(f"others may read the token in {path} (mode {mode:o}, allowed is 600): {repair}")
    if not _TOKEN.fullmatch(text):
        raise UsageError(f"{path} holds no token (43 letters, digits, - and _); {repair}")
    return text


def _write_token(path: Path, *, replace: bool) -> None:
    """Write a new token under its name, complete or not at all; of two programs that do it at once, one wins."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(make_token() + "\n")
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                with suppress(FileExistsError):
                    os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise write_failure(path, error) from error
