"""EDSR: a residual network without batch normalisation (Lim et al., CVPR workshops 2017)."""

from collections.abc import Mapping
from math import isqrt

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.blocks import conv3x3, conv_relu
from vsr_pipeline.models.frame import radius_or_none
from vsr_pipeline.models.state import conv_channels, count_indices, load_exactly

MEAN = (0.4488, 0.4371, 0.4040)
"""Mean RGB of DIV2K, on which EDSR is trained."""

LARGE_CHANNELS = 256
"""From so many channels on, residues are scaled by 0.1 (section 3.3 of the paper); shapes do not tell it."""

_WHAT = "an EDSR"


class ScaledResidualBlock(nn.Module):
    """conv - ReLU - conv, scaled, added to the input; (N, C, H, W) to (N, C, H, W)."""

    def __init__(self, *, channels: int, residual_scale: float) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus the scaled residue."""
        return x + self.conv2(conv_relu(self.conv1, x)) * self.residual_scale  # type: ignore[no-any-return]


class ShuffleUpsample(nn.Module):
    """conv - pixel shuffle; (N, C, H, W) to (N, C, factor * H, factor * W)."""

    def __init__(self, *, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.upsample_conv = conv3x3(channels, channels * factor**2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged features."""
        return F.pixel_shuffle(self.upsample_conv(x), self.factor)


class EDSRNet(nn.Module):
    """Super-resolution of clean single frames.

    Args:
        scale: 2, 3, 4 or another power of 2.
        channels: of the features: 64 in the baseline, 256 in the large network.
        num_blocks: residual blocks: 16 in the baseline, 32 in the large network.
        residual_scale: by which residues are multiplied: 1 in the baseline, 0.1 in the large network.

    Parameters are called as in mmedit 0.16. The features may be in 16 bits; frames are float32.
    """

    multiple_of = 1
    mean: Tensor

    def __init__(
        self,
        *,
        scale: int = 4,
        channels: int = 64,
        num_blocks: int = 16,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.channels = channels
        self.conv_first = conv3x3(3, channels)
        self.body = nn.Sequential(
            *(ScaledResidualBlock(channels=channels, residual_scale=residual_scale) for _ in range(num_blocks))
        )
        self.conv_after_body = conv3x3(channels, channels)
        self.upsample = nn.Sequential(*(ShuffleUpsample(channels=channels, factor=f) for f in _factors(scale)))
        self.conv_last = conv3x3(channels, 3)
        # On the CPU even where the network is built without memory: it is in no checkpoint.
        self.register_buffer("mean", torch.tensor(MEAN, device="cpu").view(1, 3, 1, 1), persistent=False)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Return frames (N, 3, scale * H, scale * W), float32, not clipped, of frames (N, 3, H, W) of any size."""
        x = self.conv_first((frames_NCHW - self.mean).to(self.conv_last.weight.dtype))
        x = x + self.conv_after_body(self.body(x))
        return self.conv_last(self.upsample(x)).float() + self.mean  # type: ignore[no-any-return]

    def receptive_radius(self) -> int | None:
        """Return how far one output pixel sees, in LQ pixels; None where that is too far for exact tiles."""
        # The first convolution, two of each block, the one after them; enlarging reaches two pixels.
        return radius_or_none(2 * len(self.body) + 4)

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one frame or tile, in LQ pixels, without the weights."""
        pixels = height * width
        body = 4 * self.channels
        # The last convolution before a shuffle, its result and the shuffled copy, all of the output's size.
        enlarging = 2 * self.scale**2 * self.channels + self.scale**2 * self.channels // 4
        return pixels * max(body, enlarging) * bytes_per_value + 2 * 4 * 3 * self.scale**2 * pixels


def edsr_from(state: Mapping[str, Tensor]) -> EDSRNet:
    """Build the EDSR that a state dict (mmedit's names) belongs to.

    Raises:
        ModelError: it belongs to none.
    """
    channels, _ = conv_channels(state, "conv_first", what=_WHAT)
    steps = count_indices(state, "upsample.")
    factors = []
    for n in range(steps):
        outputs, inputs = conv_channels(state, f"upsample.{n}.upsample_conv", what=_WHAT)
        factors.append(isqrt(outputs // inputs))
    if factors != [3] and (not factors or set(factors) != {2}):
        raise ModelError(
            f"the weights are not those of {_WHAT}: it enlarges by {factors or 'nothing'}; "
            "known are one step by 3, or steps by 2"
        )
    return load_exactly(
        lambda: EDSRNet(
            scale=3 if factors == [3] else 2**steps,
            channels=channels,
            num_blocks=count_indices(state, "body."),
            residual_scale=0.1 if channels >= LARGE_CHANNELS else 1.0,
        ),
        state,
        what=_WHAT,
    )


def _factors(scale: int) -> tuple[int, ...]:
    """Return the steps that enlarge by `scale`."""
    if scale == 3:
        return (3,)
    if scale < 2 or scale & (scale - 1):
        raise ValueError(f"an EDSR enlarges by 3 or a power of 2, not by {scale}")
    return (2,) * (scale.bit_length() - 1)
