"""Stacks of 3x3 convolutions by Winograd's method, computed by the library ncnn.

In float32 that needs less than half of the multiplications of direct convolutions, and has the same accuracy here. The
method is from Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vsr_pipeline.models.blocks import ResidualBlock, ResidualBlocks

_INPUT = "features"
_LEAKY_RELU = "9=2 -23310=1,0.1"
_RELU = "9=1"


@cache
def winograd_library() -> str | None:
    """Return what would compute Winograd's method here, such as `ncnn 1.0`; None where it is not installed."""
    try:
        return f"ncnn {version('ncnn')}"
    except PackageNotFoundError:
        return None


def use_winograd(net: nn.Module) -> None:
    """Let a network compute its residual blocks, which are four fifths of it, by Winograd's method.

    What enlarges their features would gain nothing: in bands as low as its memory asks for, borders cost what it saves.

    Args:
        net: in float32 on the CPU, for inference; it is changed, and has as many threads as PyTorch has now.
    """
    pools = _Pools()
    for module in list(net.modules()):
        if isinstance(module, ResidualBlocks):
            module.main = _residual_blocks(module, pools)


class _Pools:
    """The memory that the parts of a network compute in, one after the other; without, each would keep its own."""

    def __init__(self) -> None:
        import ncnn

        self.features, self.workspace = ncnn.PoolAllocator(), ncnn.PoolAllocator()


class WinogradStack(nn.Module):
    """A part of a network that ncnn computes; (N, C, H, W) to (N, C', H, W), float32."""

    def __init__(self, graph: "_Graph", output: str, pools: _Pools) -> None:
        super().__init__()
        self._net = graph.load(pools)
        self._pools = pools  # after the network that uses them: they must outlive it
        self._output = output

    def forward(self, x: Tensor) -> Tensor:
        """Compute one picture of the batch after the other.

        Raises:
            MemoryError: there is not enough for it.
        """
        whole: Tensor | None = None
        for index, picture_CHW in enumerate(x.contiguous().numpy()):
            output_CHW = self._of_one(picture_CHW)
            if whole is None:
                whole = torch.empty((len(x), *output_CHW.shape)).to(memory_format=torch.channels_last)
            whole[index] = output_CHW
        assert whole is not None
        return whole

    def _of_one(self, picture_CHW: npt.NDArray[np.float32]) -> Tensor:
        import ncnn

        extractor = self._net.create_extractor()
        extractor.input(_INPUT, ncnn.Mat(picture_CHW))
        code, result = extractor.extract(self._output)
        if code != 0:
            raise MemoryError(f"ncnn gave {code} for a picture of {picture_CHW.shape}")
        return torch.from_numpy(np.asarray(result))


def _residual_blocks(blocks: ResidualBlocks, pools: _Pools) -> WinogradStack:
    assert isinstance(blocks.main, nn.Sequential)
    first, _, residual = blocks.main
    assert isinstance(first, nn.Conv2d)
    assert isinstance(residual, nn.Sequential)
    graph = _Graph()
    x = graph.convolution(first, _INPUT, _LEAKY_RELU)
    for block in residual:
        assert isinstance(block, ResidualBlock)
        kept, into = graph.add("Split", x, outputs=2)
        y = graph.convolution(block.conv2, graph.convolution(block.conv1, into, _RELU))
        (x,) = graph.add("BinaryOp", y, kept, parameters="0=0")
    return WinogradStack(graph, x, pools)


class _Graph:
    """A network in ncnn's format: a line of text for each layer, and the weights behind one another."""

    def __init__(self) -> None:
        self._layers = [f"Input input 0 1 {_INPUT}"]
        self._weights = bytearray()
        self._blobs = 1

    def add(self, kind: str, *inputs: str, outputs: int = 1, parameters: str = "") -> list[str]:
        """Append a layer; returns the names of its outputs."""
        made = [f"blob{self._blobs + k}" for k in range(outputs)]
        self._blobs += outputs
        name = f"layer{len(self._layers)}"
        self._layers.append(" ".join((kind, name, str(len(inputs)), str(outputs), *inputs, *made, parameters)))
        return made

    def convolution(self, conv: nn.Conv2d, x: str, activation: str = "") -> str:
        """Append a convolution that keeps height and width, and what is applied to its output."""
        assert conv.bias is not None
        channels, _, size, _ = conv.weight.shape
        self._weights += bytes(4)  # what follows is in float32
        for values in (conv.weight, conv.bias):
            self._weights += values.detach().contiguous().numpy().astype("<f4").tobytes()
        parameters = f"0={channels} 1={size} 4={size // 2} 5=1 6={conv.weight.numel()} {activation}"
        return self.add("Convolution", x, parameters=parameters)[0]

    def load(self, pools: _Pools) -> Any:  # noqa: ANN401 - ncnn says nothing of its types
        """Return the `ncnn.Net` that computes it."""
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads = torch.get_num_threads()
        net.opt.blob_allocator, net.opt.workspace_allocator = pools.features, pools.workspace
        for in_16_bits in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
            setattr(net.opt, f"use_{in_16_bits}", False)
        text = "\n".join(("7767517", f"{len(self._layers)} {self._blobs}", *self._layers, ""))
        with TemporaryDirectory(prefix="vsr-ncnn-") as folder:
            structure, weights = Path(folder, "net.param"), Path(folder, "net.bin")
            structure.write_text(text, encoding="ascii")
            weights.write_bytes(self._weights)
            if net.load_param(str(structure)) or net.load_model(str(weights)):
                raise RuntimeError("ncnn does not take the network")
        return net
