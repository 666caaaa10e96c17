"""Convolutions in 8-bit integers on a CPU: features as uint8, weights as int8, sums of residual blocks in float32.

The convolutions are oneDNN's, with what follows them in the same pass. Their accumulators are int32, so that results
are the same every time. The method is that of Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018): a grid for all features of a tensor, one for the weights of each output
channel. What rounding of weights adds on average is taken from the biases (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.errors import ModelError, OutOfRangeError
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.blocks import ResidualBlock, ResidualBlocks, conv_relu, pixel_shuffle
from vsr_pipeline.models.spynet import FlowLevel

_CONVOLVE = getattr(torch.ops.onednn, "qconv2d_pointwise", None)
_PREPACK = getattr(torch.ops.onednn, "qconv_prepack", None)
# By PyTorch's names for what a CPU can do, the fastest first.
_WITH_VNNI = (("amx_int8", "AMX"), ("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX-VNNI"))
_WITHOUT_VNNI = (("avx512_bw", "AVX-512"), ("avx2", "AVX2"))
_LARGEST = 255
_SLOPE = 0.1
_FLOW_LEVELS = slice(4, None)
"""The large ones; a correction of the small ones counts up to 32 pixels."""
_OF_FLOW = (1, 2, 3)
"""Of its five convolutions; the first and the last have few channels."""
_RECONSTRUCTION = ("upsample1.upsample_conv", "upsample2.upsample_conv", "conv_hr")
_COUNTED, _CLEANING = "main.2.", "image_cleaning"
_CACHED_BYTES = 2**18
_COUNTED_ROWS = slice(None, None, 8)


@cache
def int8_instructions() -> str | None:
    """Return by which instructions this CPU multiplies 8-bit integers; None: not by any that PyTorch uses here."""
    if _CONVOLVE is None or _PREPACK is None:
        return None
    abilities = torch.cpu.get_capabilities()
    return next((name for ability, name in (*_WITH_VNNI, *_WITHOUT_VNNI) if abilities.get(ability)), None)


def _weight_limit() -> int:
    """Return the largest weight. Without VNNI two products are added in 16 bits: there weights have 7 bits."""
    return 63 if int8_instructions() in dict(_WITHOUT_VNNI).values() else 127


@dataclass(frozen=True, slots=True)
class Range:
    """What the input of a convolution was when it was calibrated.

    Attributes:
        low: the least value that is kept apart from those below it; 0 after a ReLU.
        high: the largest.
        channel_means: of each channel.
    """

    low: float
    high: float
    channel_means: Tensor

    @property
    def scale(self) -> float:
        """Distance of the grid's values."""
        return max(self.high - self.low, 1e-6) / _LARGEST

    @property
    def zero(self) -> int:
        """The integer that stands for 0."""
        return min(_LARGEST, max(0, round(-self.low / self.scale)))


Ranges = Mapping[str, Range]
"""By the name of the convolution in its network."""


class Outside:
    """Counts features at the ends of their range, where those beyond it are, too; on every eighth row."""

    def __init__(self) -> None:
        self._counted = self._outside = 0

    def look_at(self, features: Tensor, *, is_signed: bool) -> None:
        """Count those of some features (N, C, H, W), uint8."""
        rows = features[:, :, _COUNTED_ROWS]
        self._counted += rows.numel()
        self._outside += int(torch.count_nonzero(rows == _LARGEST))
        if is_signed:
            self._outside += rows.numel() - int(torch.count_nonzero(rows))

    def take_share(self) -> float:
        """Return the share since the last call."""
        share = self._outside / max(1, self._counted)
        self._counted = self._outside = 0
        return share


MOST_OUTSIDE = 0.005
"""Share of the features of a window; ordinary footage has a hundredth of it at most."""


def refuse_outside(share: float) -> None:
    """Refuse features of which too many are outside of their ranges.

    Raises:
        OutOfRangeError: they are.
    """
    if share > MOST_OUTSIDE:
        raise OutOfRangeError(f"{share:.1%} of the features left the ranges of int8")


class Int8Conv:
    """A convolution of stride 1 that keeps height and width.

    Args:
        conv: in float32.
        seen: the range of its input.
        outside: is told of its features; None: nobody is.
    """

    def __init__(self, conv: nn.Conv2d, seen: Range, outside: Outside | None) -> None:
        assert _PREPACK is not None
        assert conv.bias is not None
        self._scale, self._zero = seen.scale, seen.zero
        self._outside = outside
        self._offset = torch.tensor(seen.zero + 0.5)  # what follows rounds down
        weight = conv.weight.detach().float()
        limit = _weight_limit()
        self._weight_scale = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / limit
        self._weight_zero = torch.zeros(len(weight), dtype=torch.long)
        by_output = self._weight_scale[:, None, None, None]
        integers = (weight / by_output).round().clamp(-limit, limit)
        excess = ((integers * by_output - weight).sum((2, 3)) * seen.channel_means).sum(1)
        self._bias = conv.bias.detach().float() - excess
        self._shape = [1, 1], list(conv.padding), [1, 1], 1
        self._packed = _PREPACK(integers.to(torch.int8), self._weight_scale, self._scale, self._zero, *self._shape)

    def rounded(self, x: Tensor) -> Tensor:
        """Return features as its input wants them, uint8; what is outside of the range becomes its end."""
        q = torch.add(self._offset, x, alpha=1 / self._scale).clamp_(0, _LARGEST).to(torch.uint8)
        if self._outside is not None:
            self._outside.look_at(q, is_signed=self._zero > 0)
        return q

    def into(self, other: "Int8Conv", q: Tensor) -> Tensor:
        """Return the ReLU of the convolution of `q`, as the input of the next one wants it, uint8."""
        made = self._convolved(q, other._scale, other._zero, torch.uint8, "relu")
        if self._outside is not None:
            self._outside.look_at(made, is_signed=False)
        return made

    def floats(self, q: Tensor) -> Tensor:
        """Return the convolution of `q`, float32."""
        return self._convolved(q, 1.0, 0, torch.float32, "none")

    def added(self, q: Tensor, to: Tensor) -> Tensor:
        """Return `to` plus the convolution of `q`, float32, in the memory of `to`."""
        return _CONVOLVE.binary(  # type: ignore[no-any-return, union-attr]
            *self._arguments(q, to), *self._shape, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], ""
        )

    def _convolved(self, q: Tensor, scale: float, zero: int, dtype: torch.dtype, after: str) -> Tensor:
        assert _CONVOLVE is not None
        return _CONVOLVE(*self._arguments(q), *self._shape, scale, zero, dtype, after, [], "")  # type: ignore[no-any-return]

    def _arguments(self, q: Tensor, *added: Tensor) -> tuple[object, ...]:
        weights = (self._packed, self._weight_scale, self._weight_zero)
        return (q, self._scale, self._zero, *weights, *added, self._bias)


class Int8Blocks(nn.Module):
    """The first convolution of `ResidualBlocks`, in float32, and its residual blocks."""

    def __init__(self, first: nn.Conv2d, blocks: list[tuple[Int8Conv, Int8Conv]]) -> None:
        super().__init__()
        self.first = first
        self._blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of `x`, float32."""
        x = conv_relu(self.first, x, _SLOPE)
        for one, two in self._blocks:
            x = two.added(one.into(two, one.rounded(x)), to=x)
        return x


class Int8FlowLevel(nn.Module):
    """The convolutions of a `FlowLevel`; the first and the last, which have few channels, in float32."""

    def __init__(self, first: nn.Conv2d, between: list[Int8Conv], last: nn.Conv2d) -> None:
        super().__init__()
        self.first = first
        self._between = between
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return the correction of the flow."""
        two, three, four = self._between
        q = three.into(four, two.into(three, two.rounded(conv_relu(self.first, x))))
        return self.last(F.relu(four.floats(q), inplace=True))  # type: ignore[no-any-return]


class Int8Details(nn.Module):
    """What reconstruction does after fusion; the last convolution, which makes colours, in float32."""

    def __init__(self, net: BasicVSRNet, inner: list[Int8Conv]) -> None:
        super().__init__()
        self.conv_last = net.conv_last
        self._inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the enlarged frame, of fused features."""
        first, second, third = self._inner
        q = _shuffled(first.floats(first.rounded(x)), second)
        q = _shuffled(second.floats(q), third)
        return self.conv_last(F.leaky_relu(third.floats(q), _SLOPE, inplace=True))  # type: ignore[no-any-return]


def _shuffled(x: Tensor, following: Int8Conv) -> Tensor:
    """Return the LeakyReLU of features, pixel-shuffled, as the next convolution wants them, uint8; `x` is changed."""
    count, channels, height, width = x.shape
    q = torch.empty(count, 2 * height, 2 * width, channels // 4, dtype=torch.uint8).permute(0, 3, 1, 2)
    rows = max(1, _CACHED_BYTES // (4 * count * channels * width))
    for start in range(0, height, rows):  # each part is still in the cache when the next step wants it
        part = F.leaky_relu(x[:, :, start : start + rows], _SLOPE, inplace=True)
        q[:, :, 2 * start : 2 * (start + rows)] = pixel_shuffle(following.rounded(part))
    return q


def quantised_convolutions(net: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Yield the convolutions that `use_int8` computes in integers, and their names, of a network as it is built."""
    for name, module in net.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, ResidualBlock):
            yield f"{prefix}conv1", module.conv1
            yield f"{prefix}conv2", module.conv2
        elif isinstance(module, BasicVSRNet):
            for part in _RECONSTRUCTION:
                yield prefix + part, _conv(module, part)
            for level in range(len(module.spynet.basic_module))[_FLOW_LEVELS]:
                for k in _OF_FLOW:
                    path = f"spynet.basic_module.{level}.basic_module.{k}.conv"
                    yield prefix + path, _conv(module, path)


def use_int8(net: nn.Module, ranges: Ranges) -> Outside:
    """Let a network compute most of its convolutions in 8-bit integers.

    Args:
        net: in float32 on the CPU, channels last, for inference; it is changed.
        ranges: of all of `quantised_convolutions`.

    Returns:
        What counts how often the features of propagation leave their ranges. Those of the other parts are not carried
        from frame to frame.

    Raises:
        ModelError: a range is missing, as in a file of another version.
    """
    if missing := {name for name, _ in quantised_convolutions(net)} - set(ranges):
        raise ModelError(f"the ranges of {len(missing)} convolutions are not known: run vsr models quantize")
    outside = Outside()
    made = {
        conv: Int8Conv(conv, ranges[name], None if _COUNTED not in name or _CLEANING in name else outside)
        for name, conv in quantised_convolutions(net)
    }
    for module in list(net.modules()):
        if isinstance(module, ResidualBlocks):
            first, *_ = module.main.children()
            assert isinstance(first, nn.Conv2d)
            blocks = [block for block in module.main.modules() if isinstance(block, ResidualBlock)]
            module.main = Int8Blocks(first, [(made[block.conv1], made[block.conv2]) for block in blocks])
        elif isinstance(module, BasicVSRNet):
            module.details = Int8Details(module, [made[_conv(module, part)] for part in _RECONSTRUCTION])
            for level in module.spynet.basic_module[_FLOW_LEVELS]:
                assert isinstance(level, FlowLevel)
                convs = [conv for conv in level.modules() if isinstance(conv, nn.Conv2d)]
                level.basic_module = Int8FlowLevel(convs[0], [made[convs[k]] for k in _OF_FLOW], convs[-1])
    return outside


def _conv(net: nn.Module, path: str) -> nn.Conv2d:
    conv = net.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    return conv
