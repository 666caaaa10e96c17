"""The ranges of features that int8 needs: a small file for each checkpoint, beside it or in the user's cache."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vsr_pipeline.checkpoints.manifest import user_cache
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.int8 import Range, Ranges
from vsr_pipeline.runtime.files import file_sha256, make_folder, published

_SUFFIX = ".int8.safetensors"
_WEIGHTS = "weights_sha256"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Ranges of the network of one checkpoint, and the hash of their file."""

    ranges: Ranges
    sha256: str


def ranges_beside(weights: Path) -> Path:
    """Return where the ranges of a checkpoint's file lie that were made with it."""
    return weights.with_name(weights.stem + _SUFFIX)


def ranges_in_cache(weights_sha256: str) -> Path:
    """Return where `vsr models quantize` puts the ranges of a checkpoint."""
    return user_cache() / f"{weights_sha256[:16]}{_SUFFIX}"


def find_ranges(weights: Path, weights_sha256: str) -> Path | None:
    """Return the ranges' file of a checkpoint, the user's own one first; None: there is none."""
    places = [ranges_beside(weights)]
    with suppress(ImportError):  # where next to nothing is installed there is no cache
        places.insert(0, ranges_in_cache(weights_sha256))
    return next((place for place in places if place.is_file()), None)


def load_ranges(path: Path, weights_sha256: str) -> Calibration:
    """Read ranges.

    Raises:
        ModelError: the file is damaged, or is for other weights.
    """
    remedy = "delete it, or run vsr models quantize"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = sorted({name.rpartition(".")[0] for name in file.keys()})  # noqa: SIM118 - it is no mapping
            ranges = {name: _read(file, name) for name in names}
        sha256 = file_sha256(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} has no ranges that can be read ({type(error).__name__}): {remedy}") from error
    if metadata.get(_WEIGHTS) != weights_sha256:
        raise ModelError(f"{path} has the ranges of other weights: {remedy}")
    return Calibration(ranges, sha256)


def _read(file: Any, name: str) -> Range:  # noqa: ANN401 - safetensors says nothing of its types
    low, high = file.get_tensor(f"{name}.ends").tolist()
    return Range(low, high, file.get_tensor(f"{name}.means"))


def save_ranges(path: Path, ranges: Ranges, weights_sha256: str) -> None:
    """Write ranges.

    Raises:
        OutputError, DiskFullError: the file cannot be written.
    """
    tensors = {}
    for name, seen in ranges.items():
        tensors[f"{name}.ends"] = torch.tensor([seen.low, seen.high], dtype=torch.float32)
        tensors[f"{name}.means"] = seen.channel_means.float().contiguous()
    make_folder(path.parent)
    with published(path) as temporary:
        temporary.write_bytes(save(tensors, {_WEIGHTS: weights_sha256}))
