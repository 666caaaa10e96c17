"""AnimeSR's MSRSWVSR: recurrent x4 super-resolution of drawn film (Wu et al., NeurIPS 2022).

It runs forward only. A frame is enlarged from itself, its two neighbours, the previous output, and features that the
network hands on to the next frame.
"""

from collections.abc import Mapping
from math import isqrt

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.blocks import ResidualBlock
from vsr_pipeline.models.state import conv_channels, count_indices, load_exactly

SIZE_MULTIPLE = 4
"""The network halves frames twice, so sides are extended to multiples of it."""

_SLOPE = 0.1
_NEIGHBOURHOOD = 3
_WHAT = "an MSRSWVSR (AnimeSR)"


def extended(frame_NCHW: Tensor) -> Tensor:
    """Repeat a frame's border at the bottom and right until its sides are multiples of 4."""
    height, width = frame_NCHW.shape[-2:]
    return F.pad(frame_NCHW, (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE), mode="replicate")


class MultiScaleBlocks(nn.Module):
    """Residual blocks in full, half and quarter size, which end together; (N, in, H, W) to (N, out, H, W).

    Args:
        in_channels: of the input.
        channels: of the features.
        out_channels: of the output.
        num_blocks: in full, half and quarter size, in this order, never growing.
    """

    def __init__(self, *, in_channels: int, channels: int, out_channels: int, num_blocks: tuple[int, int, int]) -> None:
        super().__init__()
        full, half, quarter = num_blocks
        if not full >= half >= quarter >= 1:
            raise ValueError(f"blocks in full, half and quarter size must not grow in number: {num_blocks}")
        self.conv_s1_first = _activated_conv(in_channels, channels, stride=1)
        self.conv_s2_first = _activated_conv(channels, channels, stride=2)
        self.conv_s4_first = _activated_conv(channels, channels, stride=2)
        self.body_s1_first = nn.ModuleList(ResidualBlock(channels) for _ in range(full))
        self.body_s2_first = nn.ModuleList(ResidualBlock(channels) for _ in range(half))
        self.body_s4_first = nn.ModuleList(ResidualBlock(channels) for _ in range(quarter))
        self.fusion = nn.Sequential(
            nn.Conv2d(3 * channels, 2 * out_channels, kernel_size=3, padding=1),
            nn.LeakyReLU(_SLOPE, inplace=True),
            nn.Conv2d(2 * out_channels, out_channels, kernel_size=3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the fused features of the three sizes."""
        full = self.conv_s1_first(x)
        half = self.conv_s2_first(full)
        quarter = self.conv_s4_first(half)
        # "Right-aligned": smaller sizes have fewer blocks and start later; each size adds what the smaller ones found.
        half_start = len(self.body_s1_first) - len(self.body_s2_first)
        quarter_start = len(self.body_s1_first) - len(self.body_s4_first)
        for n, block in enumerate(self.body_s1_first):
            total = full
            if n > half_start:
                total = total + _enlarged(half, 2)
            if n > quarter_start:
                total = total + _enlarged(quarter, 4)
            # A block adds to its input in place, and the features are not needed again.
            full = block(total)
            if n >= half_start:
                total = half + _enlarged(quarter, 2) if n > quarter_start else half
                half = self.body_s2_first[n - half_start](total)
            if n >= quarter_start:
                quarter = self.body_s4_first[n - quarter_start](quarter)
        return self.fusion(torch.cat((full, _enlarged(half, 2), _enlarged(quarter, 4)), dim=1))  # type: ignore[no-any-return]


class AnimeSRNet(nn.Module):
    """Recurrent super-resolution of drawn film, one step a frame.

    Args:
        scale: what sides are multiplied by; 4 in the published networks.
        channels: of the features and of the state.
        num_blocks: residual blocks in full, half and quarter size.

    Parameters are called as in AnimeSR's code. The features may be in 16 bits; frames and outputs are float32.
    """

    def __init__(self, *, scale: int = 4, channels: int = 64, num_blocks: tuple[int, int, int] = (5, 3, 2)) -> None:
        super().__init__()
        self.scale = scale
        self.channels = channels
        values = 3 * scale**2
        self.recurrent_cell = MultiScaleBlocks(
            in_channels=3 * _NEIGHBOURHOOD + values + channels,
            channels=channels,
            out_channels=channels + values,
            num_blocks=num_blocks,
        )

    def start(self, frame_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the previous output and the state, both zero, with which a shot begins.

        Args:
            frame_NCHW: any frame of the shot, its sides multiples of 4.
        """
        count, _, height, width = frame_NCHW.shape
        dtype = next(self.parameters()).dtype
        output = frame_NCHW.new_zeros((count, 3, self.scale * height, self.scale * width), dtype=torch.float32)
        return output, frame_NCHW.new_zeros((count, self.channels, height, width), dtype=dtype)

    def forward(self, frames_N3CHW: Tensor, output_NCHW: Tensor, state_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarge the middle one of three frames.

        Args:
            frames_N3CHW: (N, 3, 3, H, W): previous, current and next frame, RGB in [0, 1], float32, H and W multiples
                of 4 (see `extended`). At the ends of a shot the current frame stands for the one that is missing.
            output_NCHW: (N, 3, scale * H, scale * W), the output of the previous frame, not clipped; from `start` at
                first.
            state_NCHW: (N, channels, H, W), the state after the previous frame; from `start` at first.

        Returns:
            The output (N, 3, scale * H, scale * W), float32, not clipped, and the state, for the next frame.
        """
        values = 3 * self.scale**2
        dtype = state_NCHW.dtype
        previous = F.pixel_unshuffle(output_NCHW, self.scale)
        x = torch.cat((frames_N3CHW.flatten(1, 2).to(dtype), previous.to(dtype), state_NCHW), dim=1)
        features = self.recurrent_cell(x)
        details = F.pixel_shuffle(features[:, :values], self.scale)
        output = _enlarged(frames_N3CHW[:, 1], self.scale) + details
        return output, F.leaky_relu(features[:, values:], _SLOPE)

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one step on a frame, in LQ pixels, without the weights."""
        pixels = height * width
        values = 3 * self.scale**2
        # At the fusion: features of three sizes, two of them enlarged, their concatenation, and its result.
        fusion = int(6.4 * self.channels) + 2 * (self.channels + values)
        # Beside it: the input, the previous state, and the previous output twice.
        carried = (2 * self.channels + 9 + values) * bytes_per_value + 2 * 4 * values
        return pixels * (fusion * bytes_per_value + carried)


def animesr_from(state: Mapping[str, Tensor]) -> AnimeSRNet:
    """Build the AnimeSR network that a state dict (AnimeSR's names) belongs to.

    Raises:
        ModelError: it belongs to none.
    """
    cell = "recurrent_cell."
    channels, inputs = conv_channels(state, f"{cell}conv_s1_first.0", what=_WHAT)
    scale = isqrt(max(0, inputs - channels - 9) // 3)
    blocks = tuple(count_indices(state, f"{cell}body_s{size}_first.") for size in (1, 2, 4))
    full, half, quarter = blocks
    if not full >= half >= quarter >= 1 or scale < 1:
        raise ModelError(
            f"the weights are not those of {_WHAT}: {full}, {half} and {quarter} blocks in full, half and quarter size "
            f"and {inputs} input channels; blocks must not grow in number, and channels must be 9 + 3 x scale^2 + state"
        )
    return load_exactly(
        lambda: AnimeSRNet(scale=scale, channels=channels, num_blocks=(full, half, quarter)), state, what=_WHAT
    )


def _activated_conv(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
