"""Downloads: continued where they stopped, checked, and under their final name only when they are whole."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from vsr_pipeline import __version__
from vsr_pipeline.checkpoints.manifest import ModelEntry
from vsr_pipeline.errors import InputError, ModelError, UsageError
from vsr_pipeline.runtime.files import file_sha256, make_folder, sync, write_failure

if TYPE_CHECKING:
    import requests

OnProgress = Callable[[int, int | None], None]
"""Told how many bytes are here, and how many there will be (None: the server does not say)."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
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
            if not (target.is_file() and entry.is_file(target)):
                part = target.with_name(f"{target.stem}.part{target.suffix}")
                _download(_Wanted(entry.name, entry.url, entry.how_to_get, entry.file), part, on_progress)
                _publish(entry, part, target)
    except OSError as error:
        raise write_failure(target, error) from error
    return target


def is_url(text: str) -> bool:
    """Whether an input of the command line looks like an address, of whatever kind."""
    return _URL.match(text) is not None


def fetch(url: str, folder: Path, *, on_progress: OnProgress | None = None) -> Path:
    """Bring a file of the web into `folder`; one that was fetched before is left as it is.

    What has arrived before a break is continued by the next call, if the server says that the file is still the same.

    Returns:
        The file's path, which has the name in the address.

    Raises:
        UsageError: the address is not of http or https.
        InputError: the server does not deliver.
        OutputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    address = urlsplit(url)
    if address.scheme.lower() not in ("http", "https") or not address.netloc:
        raise UsageError(f"{url} cannot be downloaded: addresses begin with http:// or https://")
    name = re.sub(r"[\x00-\x1f/\\:]", "_", unquote(address.path).rstrip("/").rsplit("/", 1)[-1])[-100:].lstrip(".")
    target = make_folder(folder / f"from-{hashlib.sha256(url.encode()).hexdigest()[:12]}") / (name or "video")
    part, version = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.version")
    try:
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                _download(_Wanted(target.name, url, "run the same command", target.name), part, on_progress, version)
                sync(part)
                part.replace(target)
                sync(target.parent)
    except ModelError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise write_failure(target, error) from error
    return target


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is downloaded, for messages: its name, how to go on after a break, and its file."""

    name: str
    url: str
    how_to_get: str
    file: str


def _download(entry: _Wanted, part: Path, on_progress: OnProgress | None, version_file: Path | None = None) -> None:
    """Fetch what is missing from `part`.

    Without a hash, `version_file` keeps what the server calls this version of the file: another one begins anew.
    """
    import requests

    url = entry.url
    version = version_file.read_text("utf-8") if version_file is not None and version_file.exists() else ""
    start = part.stat().st_size if part.exists() and (version_file is None or version) else 0
    headers = {"User-Agent": f"vsr-pipeline/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if version:
            headers["If-Range"] = version
    arrived = start
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS)) as response:
            if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing, or the part is of another file: its hash tells
            start = arrived = _accepted_start(response, url, start)
            length = response.headers.get("Content-Length")
            total = start + int(length) if length is not None else None
            if version_file is not None:
                version_file.write_text(_version_of(response), "utf-8")
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


def _version_of(response: "requests.Response") -> str:
    """Return what a later request can name this version of the file by; empty where there is nothing sure."""
    tag = response.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag or response.headers.get("Last-Modified", "")


def _accepted_start(response: "requests.Response", url: str, asked_start: int) -> int:
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
    if not entry.is_file(part):
        actual = file_sha256(part)
        part.unlink()
        raise ModelError(
            f"{entry.url} is not what the manifest says: its SHA-256 is {actual}, not {entry.expected_hash}; "
            f"the download was deleted; {entry.how_to_get} again, and if that ends the same, do not use the file"
        )
    sync(part)
    part.replace(target)
    sync(target.parent)


def _tell(on_progress: OnProgress | None, arrived: int, total: int | None) -> None:
    if on_progress is not None:
        on_progress(arrived, total)


def _reason(error: "requests.RequestException") -> str:
    """Return the innermost cause in one line: the outer ones repeat the URL."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return " ".join(str(cause).split()) or type(cause).__name__
