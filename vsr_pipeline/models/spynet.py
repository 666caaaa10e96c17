"""SPyNet: optical flow by a pyramid of small networks (Ranjan and Black, CVPR 2017)."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.models.bands import in_bands
from vsr_pipeline.models.blocks import conv_relu
from vsr_pipeline.models.warp import warp

NUM_LEVELS = 6
_MULTIPLE = 2 ** (NUM_LEVELS - 1)
LEVEL_REACH = 15
"""Rows up and down that a level's five convolutions of 7x7 reach together."""


class _ConvReLU(nn.Module):
    """7x7 convolution, then ReLU where `relu`; its parameters are called `conv.*` as in the official code."""

    def __init__(self, in_channels: int, out_channels: int, *, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=7, padding=3)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self.conv, x) if self.relu else self.conv(x)


class FlowLevel(nn.Module):
    """One pyramid level: (N, 8, h, w) of reference, warped support and flow to the flow's correction (N, 2, h, w).

    Its convolutions may be in 16 bits; input and output are float32.

    Attributes:
        band_rows: compute in bands of at most so many rows; None: whole frames. The result is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.band_rows: int | None = None
        self.basic_module: nn.Module = nn.Sequential(
            _ConvReLU(8, 32, relu=True),
            _ConvReLU(32, 64, relu=True),
            _ConvReLU(64, 32, relu=True),
            _ConvReLU(32, 16, relu=True),
            _ConvReLU(16, 2, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the correction of the flow, in pixels of the level."""
        dtype = next(self.parameters()).dtype
        return in_bands(self.basic_module, (x.to(dtype),), rows=self.band_rows, halo=LEVEL_REACH).float()


class SPyNet(nn.Module):
    """Optical flow from a reference to a supporting frame.

    Args:
        num_levels: of the pyramid, from 1/32 of the size upwards. With 6 the last one has full size; with 5 it has half
            of it, which takes a quarter of the time, and its flow is enlarged.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_levels: int = NUM_LEVELS) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(FlowLevel() for _ in range(num_levels))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, reference_NCHW: Tensor, support_NCHW: Tensor) -> Tensor:
        """Return the flow (N, 2, H, W), x then y, in pixels: reference(p) looks like support(p + flow(p)).

        Args:
            reference_NCHW: RGB frames in [0, 1] of any size.
            support_NCHW: their neighbours, of the same shape.
        """
        height, width = reference_NCHW.shape[-2:]
        # The pyramid halves five times, so the frames are stretched to the next multiple of 32 and the flow back.
        padded_height = -(-height // _MULTIPLE) * _MULTIPLE
        padded_width = -(-width // _MULTIPLE) * _MULTIPLE
        flow = self._pyramid_flow(
            _resize(reference_NCHW, padded_height, padded_width), _resize(support_NCHW, padded_height, padded_width)
        )
        x, y = torch.split(_resize(flow, height, width), 1, dim=1)
        # Two factors and no tensor of them: to copy that to a GPU, everything before it would be waited for.
        return torch.cat((x * (width / padded_width), y * (height / padded_height)), dim=1)

    def _pyramid_flow(self, reference: Tensor, support: Tensor) -> Tensor:
        references = self._pyramid(reference)
        supports = self._pyramid(support)
        flow = torch.zeros_like(references[0][:, :2])
        for level, (small_reference, small_support) in enumerate(zip(references, supports, strict=True)):
            if level > 0:
                flow = 2.0 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            if level < len(self.basic_module):
                warped = warp(small_support, flow, padding_mode="border")
                flow = flow + self.basic_module[level](torch.cat((small_reference, warped, flow), dim=1))
        return flow

    def _pyramid(self, frames: Tensor) -> list[Tensor]:
        """Normalised frames from 1/32 of the size to full size."""
        levels = [(frames - self.mean) / self.std]
        for _ in range(NUM_LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], kernel_size=2, stride=2))
        return levels[::-1]


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
