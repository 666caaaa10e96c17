"""Downloads of weights: continued where they stopped, checked, and under their final name only when they are whole."""

import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests
from filelock import FileLock

from vsr_pipeline import __version__
from vsr_pipeline.errors import ModelError
from vsr_pipeline.files import file_sha256, make_folder, sync, write_failure
from vsr_pipeline.weights import ModelEntry

OnProgress = Callable[[int, int | None], None]
"""Told how many bytes are here, and how many there will be (None: the server does not say)."""

_CHUNK_BYTES = 1 << 16  # a break loses what had arrived of one chunk
_CONNECT_SECONDS = 20
_SILENCE_SECONDS = 60


def pull(entry: ModelEntry, *, folder: Path, on_progress: OnProgress | None = None) -> Path:
    """Bring a model's file into `folder`; a file that is there already and right is left as it is.

    What has arrived before a break stays in a `.part` file and is continued by the next pull, if the server can. Of two
    pulls at once one downloads, the other waits for it.

    Args:
        entry: a model with a URL.
        folder: where the file goes; created where it is missing.
        on_progress: called before the first byte and after each piece.

    Returns:
        The file's path.

    Raises:
        ModelError: the model is no download, the server does not deliver, or what it delivers has another hash.
        OutputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    if entry.url is None:
        raise ModelError(f"{entry.name} is not downloaded: {entry.how_to_get}")
    target = make_folder(folder) / entry.file
    try:
        with FileLock(f"{target}.lock"):
            if not (target.is_file() and entry.matches(file_sha256(target))):
                part = target.with_name(f"{target.stem}.part{target.suffix}")
                _download(entry, entry.url, part, on_progress)
                _publish(entry, part, target)
    except OSError as error:
        raise write_failure(target, error) from error
    return target


def _download(entry: ModelEntry, url: str, part: Path, on_progress: OnProgress | None) -> None:
    """Fetch what is missing from `part`."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"vsr-pipeline/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    arrived = start
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS)) as response:
            if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing, or the part is of another file: its hash tells
            start = arrived = _accepted_start(response, url, start)
            length = response.headers.get("Content-Length")
            total = start + int(length) if length is not None else None
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                _tell(on_progress, arrived, total)
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    arrived += len(chunk)
                    _tell(on_progress, arrived, total)
    except requests.RequestException as error:
        if arrived:
            raise ModelError(
                f"the download of {entry.name} from {url} stopped after {arrived} bytes ({_reason(error)}): "
                f"{entry.how_to_get} again, it continues from there"
            ) from error
        raise ModelError(
            f"cannot reach {url} ({_reason(error)}): check the network, or put {entry.file} into {part.parent} yourself"
        ) from error


def _accepted_start(response: requests.Response, url: str, asked_start: int) -> int:
    """Return the byte of the file with which the response's body starts.

    Raises:
        ModelError: the response is no part of the file.
    """
    status = response.status_code
    if status == HTTPStatus.OK:
        return 0
    if status == HTTPStatus.PARTIAL_CONTENT:
        content_range = response.headers.get("Content-Range", "")
        match = re.match(r"bytes (\d+)-", content_range)
        if match and int(match[1]) == asked_start:
            return asked_start
        raise ModelError(f"{url} was asked for bytes from {asked_start} on and sent '{content_range}': try again later")
    raise ModelError(f"{url} answers {status} {response.reason}: nothing was downloaded")


def _publish(entry: ModelEntry, part: Path, target: Path) -> None:
    """Give a whole download its final name; delete it if it is another file than the manifest says."""
    actual = file_sha256(part)
    if not entry.matches(actual):
        part.unlink()
        raise ModelError(
            f"{entry.url} is not what the manifest says: its SHA-256 is {actual}, not {entry.expected_sha256}; "
            f"the download was deleted; {entry.how_to_get} again, and if that ends the same, do not use the file"
        )
    sync(part)
    part.replace(target)
    sync(target.parent)


def _tell(on_progress: OnProgress | None, arrived: int, total: int | None) -> None:
    if on_progress is not None:
        on_progress(arrived, total)


def _reason(error: requests.RequestException) -> str:
    """Return the innermost cause in one line: the outer ones repeat the URL."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return " ".join(str(cause).split()) or type(cause).__name__
