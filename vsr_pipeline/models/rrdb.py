"""RRDBNet: the large network of ESRGAN and Real-ESRGAN (Wang et al., 2018 and 2021)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.blocks import conv3x3, conv_relu
from vsr_pipeline.models.frame import pad_to_multiple, radius_or_none
from vsr_pipeline.models.state import conv_channels, count_indices, load_exactly

_SLOPE = 0.2
_RESIDUAL_SCALE = 0.2
_WHAT = "an RRDBNet (Real-ESRGAN)"


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and all results before it; (N, C, H, W) to (N, C, H, W)."""

    def __init__(self, *, channels: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, growth)
        self.conv2 = conv3x3(channels + growth, growth)
        self.conv3 = conv3x3(channels + 2 * growth, growth)
        self.conv4 = conv3x3(channels + 3 * growth, growth)
        self.conv5 = conv3x3(channels + 4 * growth, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus 0.2 times what the block finds."""
        features = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features.append(conv_relu(conv, torch.cat(features, dim=1), _SLOPE))
        return x + self.conv5(torch.cat(features, dim=1)) * _RESIDUAL_SCALE  # type: ignore[no-any-return]


class RRDB(nn.Module):
    """Three dense blocks, with a residual around them; (N, C, H, W) to (N, C, H, W)."""

    def __init__(self, *, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(channels=channels, growth=growth)
        self.rdb2 = ResidualDenseBlock(channels=channels, growth=growth)
        self.rdb3 = ResidualDenseBlock(channels=channels, growth=growth)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus 0.2 times the result of the three blocks."""
        return x + self.rdb3(self.rdb2(self.rdb1(x))) * _RESIDUAL_SCALE  # type: ignore[no-any-return]


class RRDBNet(nn.Module):
    """Super-resolution of single frames by 4; by 2 where the frame is first folded into channels.

    Args:
        scale: 4, or 2 (x2plus: pixels of 2x2 become channels, then the network enlarges by 4).
        in_channels: of a frame.
        out_channels: of a frame.
        channels: of the features.
        growth: channels that each convolution of a dense block adds.
        num_blocks: number of RRDBs.

    Parameters are called as in BasicSR. The features may be in 16 bits; frames are float32.
    """

    def __init__(
        self,
        *,
        scale: int = 4,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 64,
        growth: int = 32,
        num_blocks: int = 23,
    ) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"an RRDBNet enlarges by 2 or 4, not by {scale}")
        self.scale = scale
        self.multiple_of = 4 // scale
        self.channels, self.growth = channels, growth
        self.conv_first = conv3x3(in_channels * self.multiple_of**2, channels)
        self.body = nn.Sequential(*(RRDB(channels=channels, growth=growth) for _ in range(num_blocks)))
        self.conv_body = conv3x3(channels, channels)
        self.conv_up1 = conv3x3(channels, channels)
        self.conv_up2 = conv3x3(channels, channels)
        self.conv_hr = conv3x3(channels, channels)
        self.conv_last = conv3x3(channels, out_channels)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Return frames (N, C, scale * H, scale * W), float32, not clipped, of frames (N, C, H, W) of any size."""
        height, width = frames_NCHW.shape[-2:]
        x = pad_to_multiple(frames_NCHW, self.multiple_of).to(self.conv_last.weight.dtype)
        x = self.conv_first(F.pixel_unshuffle(x, self.multiple_of))
        x = x + self.conv_body(self.body(x))
        x = conv_relu(self.conv_up1, _doubled(x), _SLOPE)
        x = conv_relu(self.conv_up2, _doubled(x), _SLOPE)
        x = self.conv_last(conv_relu(self.conv_hr, x, _SLOPE))
        return x[..., : self.scale * height, : self.scale * width].float()  # type: ignore[no-any-return]

    def receptive_radius(self) -> int | None:
        """Return how far one output pixel sees, in LQ pixels; None where that is too far for exact tiles."""
        # Five convolutions in each of three dense blocks; one before and one after them; four while enlarging, which
        # reach two pixels together. With folded pixels, twice that, and one for a place that is not at their corner.
        radius = 15 * len(self.body) + 4
        return radius_or_none(radius if self.multiple_of == 1 else self.multiple_of * radius + 1)

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one frame or tile, in LQ pixels, without the weights."""
        pixels = height * width // self.multiple_of**2
        # In the body: the kept input of three levels, the dense features, and their concatenation.
        body = 3 * self.channels + 2 * (self.channels + 4 * self.growth)
        # While enlarging: a convolution's input and output, at 16 times the pixels; one copy for a library.
        enlarging = 16 * 3 * self.channels
        return pixels * max(body, enlarging) * bytes_per_value + 2 * 4 * 3 * 16 * pixels


def rrdb_from(state: Mapping[str, Tensor]) -> RRDBNet:
    """Build the RRDBNet that a state dict (BasicSR's names) belongs to.

    Raises:
        ModelError: it belongs to none.
    """
    channels, inputs = conv_channels(state, "conv_first", what=_WHAT)
    outputs, _ = conv_channels(state, "conv_last", what=_WHAT)
    growth, _ = conv_channels(state, "body.0.rdb1.conv1", what=_WHAT)
    if inputs not in (outputs, 4 * outputs):
        raise ModelError(
            f"the weights are not those of {_WHAT}: conv_first reads {inputs} channels and conv_last gives {outputs}; "
            f"the first must be {outputs} (scale 4) or {4 * outputs} (scale 2)"
        )
    return load_exactly(
        lambda: RRDBNet(
            scale=4 if inputs == outputs else 2,
            in_channels=outputs,
            out_channels=outputs,
            channels=channels,
            growth=growth,
            num_blocks=count_indices(state, "body."),
        ),
        state,
        what=_WHAT,
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
