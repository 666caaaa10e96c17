"""What a job was made from, so that continuing it with anything else is noticed."""

import hashlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vsr_pipeline import __version__
from vsr_pipeline.config import MEANS, Config
from vsr_pipeline.errors import InputError, ReadError
from vsr_pipeline.media.images import images_of
from vsr_pipeline.runtime.files import file_sha256, read_failure

Fingerprint = Mapping[str, str]
"""Field to value, in the order in which a person wants to read them: source, program, weights, settings."""

# These fields alone change no pixel: a source can be touched, a model can be named in two ways. They are told when the
# field that decides has changed too.
_DECIDED_BY = {
    "source.modified_ns": "source.sha256",
    "upscale.model": "weights.sha256",
    "upscale.checkpoint": "weights.sha256",
}


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """Which video, or which images, a job reads.

    Of images, all that are meant count: `size_bytes` and `modified_ns` are sums over them, `modified_ns` with the
    folder's own where a folder was named, so that a change of any one shows, and `sha256` is over their names and
    contents, in order.
    """

    path: Path
    size_bytes: int
    modified_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the identity of a source; this reads all of it once.

        Raises:
            InputError: it cannot be read, is a folder without images, or is being written at this moment.
        """
        try:
            before = _size_and_time(path)
            sha256 = _content_sha256(path)
            after = _size_and_time(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        if before != after:
            raise InputError(f"{path} changed while it was read: run again when it is complete")
        return cls(path, *before, sha256)

    @classmethod
    def recorded(cls, path: Path, fingerprint: Fingerprint) -> Self:
        """Return the identity that a source had when `fingerprint` was taken; reads nothing."""
        return cls(
            path,
            int(fingerprint["source.size_bytes"]),
            int(fingerprint["source.modified_ns"]),
            fingerprint["source.sha256"],
        )

    def is_untouched(self, path: Path) -> bool:
        """Whether size and time of a source are still the same. Nothing of it is read.

        Raises:
            InputError: it cannot be found, or is a folder without images.
        """
        try:
            return _size_and_time(path) == (self.size_bytes, self.modified_ns)
        except OSError as error:
            raise _unreadable(path, error) from error


class SourceWatch:
    """Tells whether a source changes while it is worked on.

    All files of a folder are looked at once; after that only those that are about to be read, and the folder's own
    time, which tells of files that were added, removed or renamed.

    Args:
        path: the source.
        identity: what it was when the work began.
    """

    def __init__(self, path: Path, identity: SourceIdentity) -> None:
        self._path = path
        self._identity = identity
        self._seen: dict[Path, tuple[int, int]] = {}

    def is_untouched(self, images: Iterable[Path] | None = None) -> bool:
        """Whether sizes and times are still the same.

        Args:
            images: those that are looked at, of those of the source. None: all of them.

        Raises:
            InputError: it cannot be found, or is a folder without images.
        """
        try:
            if images is None or not self._seen:
                self._seen = _sizes_and_times(self._path)
                return _sums(self._seen) == (self._identity.size_bytes, self._identity.modified_ns)
            looked_at = [*images, *([self._path] if self._path in self._seen else [])]
            return all(_size_and_time_of(file) == self._seen.get(file) for file in looked_at)
        except OSError as error:
            raise _unreadable(self._path, error) from error


def fingerprint_of(source: SourceIdentity, config: Config, upscaler: Mapping[str, str | int | float]) -> Fingerprint:
    """Return everything that the pixels of a job depend on.

    Args:
        source: the clip.
        config: the resolved settings; every field but `MEANS` is taken, under its dotted name.
        upscaler: `BuiltUpscaler.identity`. What it says about a setting is what was chosen for `auto`, and takes the
            place of what the user wrote; of a device it is the type, so that another GPU of the kind may continue.
    """
    chosen = dict(upscaler)
    fields = {
        "source.sha256": source.sha256,
        "source.size_bytes": source.size_bytes,
        "source.modified_ns": source.modified_ns,
        "program.version": __version__,
        "weights.sha256": chosen.pop("weights_sha256", None),
    }
    for section, values in config.model_dump(mode="json").items():
        fields |= {f"{section}.{name}": value for name, value in values.items()}
    fields |= {f"upscale.{name}": value for name, value in chosen.items()}
    return {name: "none" if value is None else str(value) for name, value in fields.items() if name not in MEANS}


def identity_in(fingerprint: Fingerprint | None) -> Mapping[str, str]:
    """Return what a fingerprint says of `BuiltUpscaler.identity`, by the names there; empty for None."""
    fields = (fingerprint or {}).items()
    return {name.removeprefix("upscale."): value for name, value in fields if name.startswith("upscale.")}


def differences(old: Fingerprint, new: Fingerprint) -> tuple[str, ...]:
    """Return what is not the same, each as `upscale.max_seq_len: 30 -> 10`; empty when the job may be continued."""

    def differs(name: str) -> bool:
        return old.get(name) != new.get(name)

    names = dict.fromkeys([*old, *new])
    return tuple(
        f"{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in names
        if differs(name) and differs(_DECIDED_BY.get(name, name))
    )


def _size_and_time(path: Path) -> tuple[int, int]:
    return _sums(_sizes_and_times(path))


def _sizes_and_times(path: Path) -> dict[Path, tuple[int, int]]:
    """Return size in bytes and time in nanoseconds of each file of a source, and of a folder its time."""
    images = images_of(path)
    files = [path] if images is None else [*images.values(), *([path] if path.is_dir() else [])]
    return {file: _size_and_time_of(file) for file in files}


def _size_and_time_of(file: Path) -> tuple[int, int]:
    status = file.stat()
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size, status.st_mtime_ns


def _sums(files: Mapping[Path, tuple[int, int]]) -> tuple[int, int]:
    return sum(size for size, _ in files.values()), sum(modified_ns for _, modified_ns in files.values())


def _content_sha256(path: Path) -> str:
    images = images_of(path)
    if images is None or path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for image in images.values():
        # A name cannot hold the separator, and a hash has one length: no two folders give the same bytes.
        digest.update(f"{image.name}\0{file_sha256(image)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> InputError:
    failure = read_failure(path, error)
    return failure if isinstance(failure, ReadError) else InputError(f"{failure}; give a video, or a folder of images")
