"""What a job was made from, so that continuing it with anything else is noticed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vsr_pipeline import __version__
from vsr_pipeline.config import MEANS, Config
from vsr_pipeline.errors import InputError
from vsr_pipeline.files import file_sha256
from vsr_pipeline.media.frames import images_of

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
    images = images_of(path)
    parts = [file.stat() for file in (images.values() if images is not None else [path])]
    own_time = path.stat().st_mtime_ns if path.is_dir() else 0
    return sum(part.st_size for part in parts), own_time + sum(part.st_mtime_ns for part in parts)


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
    return InputError(f"cannot read {path}: {error.strerror or error}; give a video, or a folder of images")
