"""Networks in ncnn's format (`.param` and `.bin`) as state dicts with the official names, kept as safetensors."""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vsr_pipeline.checkpoints.ncnn_graph import Layer, parse_graph
from vsr_pipeline.checkpoints.ncnn_networks import recognise
from vsr_pipeline.errors import ModelError
from vsr_pipeline.runtime.files import make_folder, published, write_failure

_FP16_TAG = 0x01306B47
_FP32_TAG = 0


def convert(param: bytes, weights: bytes) -> dict[str, Tensor]:
    """Return the tensors of a network under the official names, in the precision in which ncnn's file has them.

    Args:
        param: the content of the `.param` file.
        weights: the content of the `.bin` file.

    Raises:
        ModelError: the network is none that is known, or the weights do not fit it byte by byte.
    """
    try:
        text = param.decode("ascii")
    except UnicodeDecodeError as error:
        raise ModelError("no ncnn network: the .param file is no plain text") from error
    state: dict[str, Tensor] = {}
    reader = _Reader(weights)
    for layer, name in recognise(parse_graph(text)):
        if name is not None:
            state |= _tensors_of(layer, name, reader)
    reader.finish()
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"ncnn weights: {name} has a NaN or an infinity")
    return state


def converted(param: Path, weights: Path, target: Path, *, sha256: str | None = None) -> Path:
    """Convert a network once, into a safetensors file that appears only when it is whole and verified.

    A file that is there already and holds the right tensors is left as it is; any other is written anew. Of two
    processes at once one converts, the other waits for it.

    Args:
        param: ncnn's `.param` file.
        weights: ncnn's `.bin` file.
        target: the safetensors file.
        sha256: what `tensors_sha256` must give; None: what ncnn's files hold now.

    Returns:
        `target`.

    Raises:
        ModelError: ncnn's files cannot be read, are of no known network, or give other tensors.
        OutputError: the target cannot be written.
        ResourceError: the disk is full.
    """
    make_folder(target.parent)
    try:
        with FileLock(f"{target}.lock"):
            if sha256 is not None and _holds(target, sha256):
                return target
            state = _convert_files(param, weights)
            found = tensors_sha256(state)
            if found != (sha256 or found):
                raise ModelError(f"{weights} gives other weights than expected: SHA-256 {found}, not {sha256}")
            if not _holds(target, found):
                with published(target) as temporary:
                    save_file(state, temporary)
                    if not _holds(temporary, found):
                        raise ModelError(f"{target} could not be written: what was read back differs; run again")
    except OSError as error:
        raise write_failure(target, error) from error
    return target


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Return a hash of names, shapes, types and values, whatever the format of the file that they come from."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Reader:
    """Reads a `.bin` file from its start to its end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def take(self, count: int, what: str) -> bytes:
        """Return the next bytes."""
        part = self._content[self._place : self._place + count]
        if len(part) < count:
            raise ModelError(
                f"ncnn weights end too early: {what} needs bytes {self._place} to {self._place + count}, "
                f"the file has {len(self._content)}"
            )
        self._place += count
        return part

    def finish(self) -> None:
        """Refuse bytes that are left."""
        left = len(self._content) - self._place
        if left:
            raise ModelError(f"ncnn weights: {left} bytes are left after the last layer; nothing may be left")


def _tensors_of(layer: Layer, name: str, reader: _Reader) -> dict[str, Tensor]:
    settings = {key: value for key, value in layer.parameters if isinstance(value, float)}
    outputs = int(settings[0])
    if layer.kind == "PReLU":
        return {f"{name}.weight": _tensor(reader.take(4 * outputs, name), "<f4")}
    count = int(settings[6])
    (tag,) = struct.unpack("<I", reader.take(4, name))
    if tag == _FP16_TAG:
        weight = _tensor(reader.take(2 * count, name), "<f2")
        if any(reader.take(-2 * count % 4, name)):
            raise ModelError(f"ncnn weights: the bytes that fill up {name} are not zero")
    elif tag == _FP32_TAG:
        weight = _tensor(reader.take(4 * count, name), "<f4")
    else:
        raise ModelError(
            f"ncnn weights: {name} is stored as {tag:#010x}; known are fp16 ({_FP16_TAG:#010x}) and fp32 (0)"
        )
    bias = _tensor(reader.take(4 * outputs, name), "<f4")
    return {f"{name}.weight": weight.view(outputs, -1, 3, 3), f"{name}.bias": bias}


def _tensor(content: bytes, dtype: str) -> Tensor:
    native = np.dtype(dtype).newbyteorder("=")
    return torch.from_numpy(np.frombuffer(content, dtype).astype(native))


def _convert_files(param: Path, weights: Path) -> dict[str, Tensor]:
    try:
        contents = param.read_bytes(), weights.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read {error.filename}: {error.strerror or error}; install its package again"
        ) from error
    try:
        return convert(*contents)
    except ModelError as error:
        raise ModelError(f"{param} cannot be converted: {error}") from error


def _holds(path: Path, sha256: str) -> bool:
    """Whether a safetensors file is there and holds the tensors with this hash."""
    try:
        return path.is_file() and tensors_sha256(load_file(path)) == sha256
    except SafetensorError:
        return False
