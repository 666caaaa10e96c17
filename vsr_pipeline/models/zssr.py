"""ZSSR's network: a few plain convolutions that learn what interpolation leaves out (Shocher et al., CVPR 2018)."""

from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from vsr_pipeline.models.frame import radius_or_none


class ZSSRNet(nn.Module):
    """Convolutions with ReLU at the size of the output; what they give is added to the interpolated frame.

    Args:
        width: channels of the features.
        depth: convolutions, at least 2.
        kernel_size: sides of their kernels, odd.
        seed: of the weights that training begins with. The last convolution begins with zeros, so that an untrained
            network returns the interpolated frame.
    """

    scale = 1
    multiple_of = 1

    def __init__(self, *, width: int = 64, depth: int = 8, kernel_size: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.width = width
        self._radius = depth * (kernel_size // 2)
        channels = [3, *[width] * (depth - 1), 3]
        self.body = nn.Sequential()
        generator = torch.Generator().manual_seed(seed)
        for index, (inputs, outputs) in enumerate(pairwise(channels)):
            convolution = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
            is_last = index == depth - 1
            with torch.no_grad():
                deviation = 0.0 if is_last else sqrt(2 / (inputs * kernel_size**2))
                convolution.weight.normal_(0, deviation, generator=generator)
                convolution.bias.zero_()  # type: ignore[union-attr]
            self.body.append(convolution)
            if not is_last:
                self.body.append(nn.ReLU(inplace=True))

    def forward(self, interpolated_N3HW: Tensor) -> Tensor:
        """Return frames (N, 3, H, W), not clipped, of frames that were interpolated to that size, 0 to 1."""
        residue: Tensor = self.body(interpolated_N3HW)
        return interpolated_N3HW + residue

    def receptive_radius(self) -> int | None:
        """Return how far one output pixel sees, in pixels; None where that is too far for exact tiles."""
        return radius_or_none(self._radius)

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one frame or tile, without the weights."""
        # A layer's input and output, and one copy for a library; the frame, the residue and their sum.
        return height * width * (3 * self.width + 3 * 3) * bytes_per_value
