"""The convolutional parts that the networks are composed of."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.models.bands import in_bands

# oneDNN's convolution with what follows it, in one pass over the memory. Not in every build of PyTorch.
_FUSED = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
_FUSED_IN_PLACE = getattr(torch.ops.mkldnn, "_convolution_pointwise_", None)


def conv_relu(conv: nn.Conv2d, x: Tensor, slope: float = 0.0) -> Tensor:
    """Return the LeakyReLU of a convolution; a slope of 0 is ReLU."""
    if _is_fusible(conv, x):
        kind, scalars = ("leaky_relu", [slope]) if slope else ("relu", [])
        return _FUSED(*_arguments(conv, x), kind, scalars, "")  # type: ignore[no-any-return, misc]
    y = conv(x)
    return F.leaky_relu(y, slope, inplace=True) if slope else F.relu(y, inplace=True)


def add_conv(conv: nn.Conv2d, x: Tensor, to: Tensor) -> Tensor:
    """Return `to` plus a convolution of `x`, without gradients in the memory of `to`."""
    if _is_fusible(conv, x) and _is_fusible(conv, to):
        return _FUSED_IN_PLACE.binary(to, *_arguments(conv, x), "add", 1.0, None, [], None)  # type: ignore[no-any-return, union-attr]
    return conv(x).add_(to)  # type: ignore[no-any-return]


def _is_fusible(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether nothing needs the steps apart: no gradient, no autocast, and oneDNN's own layout and types."""
    if _FUSED is None or _FUSED_IN_PLACE is None or x.device.type != "cpu" or torch.is_grad_enabled():
        return False
    if x.dtype != conv.weight.dtype or x.dtype not in _fused_types():
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


@cache
def _fused_types() -> tuple[torch.dtype, ...]:
    """What this CPU has the instructions for."""
    computes_in_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if computes_in_bf16 else (torch.float32,)


def _arguments(conv: nn.Conv2d, x: Tensor) -> tuple[Any, ...]:
    return x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Build a 3x3 convolution that keeps height and width."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    """conv - ReLU - conv, added to the input: without gradients in its memory; (N, C, H, W) to (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + conv2(relu(conv1(x)))."""
        return add_conv(self.conv2, conv_relu(self.conv1, x), to=x)


class ResidualBlocks(nn.Module):
    """conv - LeakyReLU(0.1) - residual blocks; (N, in, H, W) to (N, out, H, W).

    Attributes:
        band_rows: compute in bands of at most so many rows; None: whole frames. The result is the same.
    """

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.band_rows: int | None = None
        self._reach = 1 + 2 * num_blocks
        self.main: nn.Module = nn.Sequential(
            conv3x3(in_channels, out_channels),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Sequential(*(ResidualBlock(out_channels) for _ in range(num_blocks))),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of `x`."""
        return in_bands(self.main, (x,), rows=self.band_rows, halo=self._reach)


def pixel_shuffle(x: Tensor) -> Tensor:
    """Return (N, C, 2H, 2W) of (N, 4C, H, W), in the layout of `x`.

    On a GPU PyTorch's own gives the other layout, and the next convolution would copy it back: features of the output's
    size.
    """
    if x.device.type == "cpu" or x.is_contiguous():
        return F.pixel_shuffle(x, 2)
    return pixel_shuffle_channels_last(x)


def pixel_shuffle_channels_last(x: Tensor) -> Tensor:
    """Do the same for channels-last features, by one copy."""
    count, channels, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).view(count, height, width, channels // 4, 2, 2).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(count, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


class PixelShuffleUpsample(nn.Module):
    """conv - pixel shuffle by 2 - LeakyReLU(0.1); (N, in, H, W) to (N, out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample_conv = conv3x3(in_channels, out_channels * 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of twice the height and width."""
        return pixel_shuffle(conv_relu(self.upsample_conv, x, 0.1))  # in this order it is the same
