"""From a file to a network of PyTorch for single frames, whatever its architecture."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
from vsr_pipeline.checkpoints.state_dicts import read_tensors
from vsr_pipeline.checkpoints.zoo import load_zoo_net
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.compact import compact_from
from vsr_pipeline.models.edsr import edsr_from
from vsr_pipeline.models.frame import FrameNet
from vsr_pipeline.models.rrdb import rrdb_from
from vsr_pipeline.models.state import mixed
from vsr_pipeline.runtime.files import file_sha256

Build = Callable[[Mapping[str, Tensor]], FrameNet]


def rrdb(path: Path, name: str) -> FrameCheckpoint:
    """Read an RRDBNet; raises `ModelError`."""
    return _ours(rrdb_from, path, name)


def compact(path: Path, name: str) -> FrameCheckpoint:
    """Read an SRVGGNetCompact; raises `ModelError`."""
    return _ours(compact_from, path, name)


def edsr(path: Path, name: str) -> FrameCheckpoint:
    """Read an EDSR; raises `ModelError`."""
    return _ours(edsr_from, path, name)


def zoo(path: Path, name: str) -> FrameCheckpoint:
    """Read whatever spandrel knows; raises `ModelError`."""
    net = load_zoo_net(path)
    names = {"torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}
    precisions = tuple(names[str(dtype)] for dtype in net.dtypes)
    title = f"{name} ({net.architecture})"
    return FrameCheckpoint(name=title, net=net, sha256=file_sha256(path), precisions=precisions)


def mixed_compact(path: Path, denoising: Path, share: float, name: str) -> FrameCheckpoint:
    """Read two networks of one size and mix their weights.

    Args:
        path: the network that keeps noise.
        denoising: the network that removes it.
        share: how much of the second, 0 to 1.
        name: of the model.

    Raises:
        ModelError: a file is damaged, or the networks are of different sizes.
    """
    net = compact_from(mixed(_tensors(path), _tensors(denoising), share))
    return FrameCheckpoint(name=name, net=net, sha256=f"{share:g} of {file_sha256(denoising)}, {file_sha256(path)}")


LOADERS = {"rrdb": rrdb, "compact": compact, "edsr": edsr, "zoo": zoo}
"""Loaders of PyTorch's networks by the manifest's `architecture`; each takes a path and a name."""


def _ours(build: Build, path: Path, name: str) -> FrameCheckpoint:
    return FrameCheckpoint(name=name, net=build(_tensors(path)), sha256=file_sha256(path))


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return {name: tensor.float() for name, tensor in read_tensors(path).items()}
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
