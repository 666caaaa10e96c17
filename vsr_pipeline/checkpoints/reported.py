"""Downloads whose progress is reported: of a model, of an input that is an address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsr_pipeline.checkpoints.download import OnProgress, fetch, is_url, pull
from vsr_pipeline.checkpoints.manifest import checkpoints_folder, find
from vsr_pipeline.errors import UsageError
from vsr_pipeline.runtime.progress import Reporter, reported


def local_source(text: str, folder: Path, *, allow_url: bool, reporter: Reporter) -> Path:
    """Return the path that is meant by an input of the command line; an address is downloaded into `folder`.

    Raises:
        UsageError: it is an address, and these are not allowed, or not of this kind.
        InputError: it cannot be downloaded; what has arrived is kept and continued.
        OutputError, ResourceError: the folder cannot be written, or the disk is full.
    """
    if not is_url(text) or Path(text).exists():
        return Path(text)
    if not allow_url:
        raise UsageError(f"URLs are refused, here {text}: give --allow-url to download it first, or a file")
    with _reported_bytes(reporter, f"download {text}", None) as on_progress:
        return fetch(text, folder, on_progress=on_progress)


def pull_model(name: str, *, reporter: Reporter) -> Path:
    """Download the weights of a model and return their file; see `vsr_pipeline.checkpoints.download.pull`."""
    entry = find(name)
    with _reported_bytes(reporter, f"pull {entry.name}", entry.bytes) as on_progress:
        return pull(entry, folder=checkpoints_folder(), on_progress=on_progress)


@contextmanager
def _reported_bytes(reporter: Reporter, what: str, total_bytes: int | None) -> Iterator[OnProgress]:
    """Report a download in megabytes."""
    megabyte = 1e6
    before = 0
    with reported(reporter, what, round((total_bytes or 0) / megabyte), "MB"):

        def on_progress(received: int, _total: int | None) -> None:
            nonlocal before
            reporter.worked((received - before) / megabyte)
            before = received

        yield on_progress
