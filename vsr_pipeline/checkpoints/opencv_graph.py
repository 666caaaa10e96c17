"""OpenCV's super-resolution networks (`.pb`): which one it is, what it enlarges by, and how far it sees."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
from vsr_pipeline.checkpoints.graph_def import Node, parse_nodes, with_opencvs_names
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.opencv_net import OpenCVNet
from vsr_pipeline.runtime.files import file_sha256

_OUTPUT = "NCHW_output"
_KNOWN = "FSRCNN, FSRCNN-small, ESPCN, LapSRN and EDSR"

# Number of convolutions and channels after the first one; LapSRN has 12 for each doubling.
_LUMA_NETS = {(8, 56): "fsrcnn", (5, 32): "fsrcnn-small", (3, 64): "espcn"}
_LAPSRN_CONVS = 12

_PIXEL_BY_PIXEL = frozenset({"Abs", "Add", "AddV2", "BiasAdd", "Identity", "Mul", "Relu", "Sub", "Tanh", "Transpose"})
_CONSTANT = frozenset({"Const", "Dequantize"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCVModel:
    """What a graph says of its network.

    Attributes:
        name: such as `fsrcnn-x3`.
        scale: what sides are multiplied by.
        luma_only: whether it takes luma only; otherwise BGR.
        radius: how far one output pixel sees, in LQ pixels.
        values_per_pixel: the most values that one layer reads and gives, for each LQ pixel.
    """

    name: str
    scale: int
    luma_only: bool
    radius: int
    values_per_pixel: int


@dataclass(frozen=True, slots=True)
class _Result:
    """What a node gives: its scale, its channels, and how far it sees in LQ pixels."""

    scale: int
    channels: int
    radius: Fraction


def opencv_checkpoint(path: Path, name: str) -> FrameCheckpoint:
    """Read one of OpenCV's networks as a frame model of a name; raises as `load_opencv_net`."""
    _, net = load_opencv_net(path)
    return FrameCheckpoint(name=name, net=net, sha256=file_sha256(path), precisions=("fp32",))


def load_opencv_net(path: Path) -> tuple[OpenCVModel, OpenCVNet]:
    """Read one of OpenCV's networks.

    Raises:
        ModelError: the file cannot be read, is none of them, or its name says another scale than its graph.
    """
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    try:
        model = describe(parse_nodes(graph))
        claimed = re.search(r"_x(\d+)$", path.stem)
        if claimed and int(claimed[1]) != model.scale:
            raise ModelError(f"its graph is {model.name}, its name says x{claimed[1]}: give it the right name")
        net = OpenCVNet(
            with_opencvs_names(graph),
            scale=model.scale,
            output=_OUTPUT,
            luma_only=model.luma_only,
            radius=model.radius,
            values_per_pixel=model.values_per_pixel,
        )
    except ModelError as error:
        raise ModelError(f"{path} cannot be used: {error}") from error
    return model, net


def describe(nodes: tuple[Node, ...]) -> OpenCVModel:
    """Find out which network a graph is; its nodes are in the order in which they compute.

    Raises:
        ModelError: it is none that is known.
    """
    constants: dict[str, tuple[int, ...]] = {}
    results: dict[str, _Result] = {}
    kernels: list[tuple[int, ...]] = []
    values_per_pixel = 0
    for node in nodes:
        if node.op in _CONSTANT or (node.op == "Identity" and node.inputs[:1] and node.inputs[0] in constants):
            constants[node.name] = constants.get(node.inputs[0], ()) if node.inputs else node.shape or ()
            continue
        kernel = _kernel_of(node, constants)
        if kernel:
            kernels.append(kernel)
        sources = [results[name] for name in node.inputs if name in results]
        results[node.name] = result = _result_of(node, sources, kernel)
        read = sources[0].channels * sources[0].scale ** 2 if sources else 0
        values_per_pixel = max(values_per_pixel, read + result.channels * result.scale**2)
    if not kernels or _OUTPUT not in results:
        raise ModelError(f"it has no convolutions or no output {_OUTPUT}; known are {_KNOWN}, as OpenCV uses them")
    output = results[_OUTPUT]
    return OpenCVModel(
        name=f"{_kind_of(kernels, output)}-x{output.scale}",
        scale=output.scale,
        luma_only=kernels[0][2] == 1,
        # A pixel of the output lies anywhere inside its LQ pixel; chroma, enlarged bilinearly, reaches one.
        radius=max(1, ceil(output.radius + 1 - Fraction(1, output.scale))),
        values_per_pixel=values_per_pixel,
    )


def _kernel_of(node: Node, constants: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return height, width, input and output channels of a convolution's kernel; None for any other node."""
    if node.op != "Conv2D":
        return None
    shape = constants.get(node.inputs[1]) if len(node.inputs) == 2 else None
    if shape is None or len(shape) != 4 or min(shape) < 1:
        raise ModelError(f"its convolution {node.name} has no constant kernel; known are {_KNOWN}")
    return shape


def _result_of(node: Node, sources: list[_Result], kernel: tuple[int, ...] | None) -> _Result:
    """Return what a node gives, from what its inputs give.

    Raises:
        ModelError: its operation is not known here.
    """
    if node.op == "Placeholder":
        return _Result(1, 1, Fraction(0))
    if not sources:
        raise ModelError(f"its node {node.name} takes nothing that is computed before it; known are {_KNOWN}")
    first = sources[0]
    if kernel:
        # A kernel of even size reaches one pixel farther on one side.
        return _Result(first.scale, kernel[3], first.radius + Fraction(max(kernel[:2]) // 2, first.scale))
    if node.op == "DepthToSpace" and node.block_size and first.channels % node.block_size**2 == 0:
        return _Result(first.scale * node.block_size, first.channels // node.block_size**2, first.radius)
    if node.op in _PIXEL_BY_PIXEL and all(source.scale == first.scale for source in sources):
        return _Result(first.scale, first.channels, max(source.radius for source in sources))
    raise ModelError(f"its node {node.name} ({node.op}) is not known; known are {_KNOWN}")


def _kind_of(kernels: list[tuple[int, ...]], output: _Result) -> str:
    """Return which network has such convolutions."""
    inputs, channels = kernels[0][2], kernels[0][3]
    if (inputs, output.channels) == (3, 3):
        return "edsr"
    kind = _LUMA_NETS.get((len(kernels), channels))
    doublings = output.scale.bit_length() - 1
    if output.scale == 2**doublings and len(kernels) == _LAPSRN_CONVS * doublings:
        kind = "lapsrn"
    if kind is None or (inputs, output.channels) != (1, 1):
        raise ModelError(
            f"{len(kernels)} convolutions, the first from {inputs} to {channels} channels, are no network that is "
            f"known; known are {_KNOWN}"
        )
    return kind
