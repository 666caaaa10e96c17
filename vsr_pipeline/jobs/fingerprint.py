"""What a job was made from, so that continuing it with anything else is noticed."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from vsr_pipeline import __version__
from vsr_pipeline.config import LATER, MEANS, Config
from vsr_pipeline.config_zssr import OF_OTHER_MODELS
from vsr_pipeline.errors import InputError, ReadError
from vsr_pipeline.media.images import images_of
from vsr_pipeline.runtime.files import FileIdentity, file_sha256, read_failure

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
class JobSource:
    """Which video, or which images, a job reads, and by what they are known again.

    Of images, all that are meant count: size and time are sums over them, the time with the folder's own where a folder
    was named, so that a change of any one shows, and the hash is over their names and contents, in order.
    """

    path: Path
    identity: FileIdentity

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the identity of a source; this reads all of it once.

        Raises:
            InputError: it cannot be read, is a folder without images, or is being written at this moment.
        """
        try:
            before = _sum(_seen(path))
            sha256 = _content_sha256(path)
            after = _sum(_seen(path))
        except OSError as error:
            raise _unreadable(path, error) from error
        if before != after:
            raise InputError(f"{path} changed while it was read: run again when it is complete")
        return cls(path, replace(before, sha256=sha256))

    @classmethod
    def recorded(cls, path: Path, fingerprint: Fingerprint) -> Self:
        """Return what a source was when `fingerprint` was taken; reads nothing."""
        size_bytes, modified_ns = (int(fingerprint[f"source.{name}"]) for name in ("size_bytes", "modified_ns"))
        return cls(path, FileIdentity(size_bytes, modified_ns, fingerprint["source.sha256"]))

    def is_untouched(self) -> bool:
        """Whether size and time are still the same. Nothing is read.

        Raises:
            InputError: it cannot be found, or is a folder without images.
        """
        try:
            return self.is_as_seen(_seen(self.path))
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def is_as_seen(self, files: Mapping[Path, FileIdentity]) -> bool:
        """Whether these are its files, by their sizes and times."""
        return replace(_sum(files), sha256=self.identity.sha256) == self.identity


class SourceWatch:
    """Tells whether a source changes while it is worked on.

    All files of a folder are looked at once; after that only those that are about to be read, and the folder's own
    time, which tells of files that were added, removed or renamed.

    Args:
        source: what it was when the work began.
    """

    def __init__(self, source: JobSource) -> None:
        self._source = source
        self._seen: dict[Path, FileIdentity] = {}

    def is_untouched(self, images: Iterable[Path] | None = None) -> bool:
        """Whether sizes and times are still the same.

        Args:
            images: those that are looked at, of those of the source. None: all of them.

        Raises:
            InputError: it cannot be found, or is a folder without images.
        """
        try:
            if images is None or not self._seen:
                self._seen = _seen(self._source.path)
                return self._source.is_as_seen(self._seen)
            folder = [self._source.path] if self._source.path in self._seen else []
            return all(FileIdentity.of(file) == self._seen.get(file) for file in (*images, *folder))
        except OSError as error:
            raise _unreadable(self._source.path, error) from error


def fingerprint_of(source: FileIdentity, config: Config, upscaler: Mapping[str, str | int | float]) -> Fingerprint:
    """Return everything that the pixels of a job depend on.

    Args:
        source: by what the clip is known.
        config: the resolved settings; every field but `MEANS` is taken, under its dotted name, and those of `LATER`
            where they are not at their defaults.
        upscaler: `BuiltUpscaler.identity`. What it says about a setting is what was chosen for `auto`, and takes the
            place of what the user wrote; of a device it is the type, so that another GPU of the kind may continue.
    """
    # `auto` means 1 where nothing is said of it.
    chosen: dict[str, str | int | float] = {"cleaning": 1.0, **upscaler}
    fields = {
        "source.sha256": source.sha256,
        "source.size_bytes": source.size_bytes,
        "source.modified_ns": source.modified_ns,
        "program.version": __version__,
        "weights.sha256": chosen.pop("weights_sha256", None),
    }
    for section, values in config.model_dump(mode="json").items():
        fields |= {f"{section}.{name}": value for name, value in values.items()}
    fields = {name: value for name, value in fields.items() if name not in LATER or LATER[name] != value}
    if "zssr" not in chosen:
        fields["upscale.zssr"] = OF_OTHER_MODELS
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


def _seen(path: Path) -> dict[Path, FileIdentity]:
    """Look at each file of a source, and at its folder."""
    images = images_of(path)
    files = [path] if images is None else [*images.values(), *([path] if path.is_dir() else [])]
    return {file: FileIdentity.of(file) for file in files}


def _sum(files: Mapping[Path, FileIdentity]) -> FileIdentity:
    return FileIdentity(sum(f.size_bytes for f in files.values()), sum(f.modified_ns for f in files.values()))


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
