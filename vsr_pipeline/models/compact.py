"""SRVGGNetCompact: Real-ESRGAN's small network for video and drawn film (Wang et al., 2021)."""

from collections.abc import Mapping
from math import isqrt

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.blocks import conv3x3
from vsr_pipeline.models.frame import radius_or_none
from vsr_pipeline.models.state import conv_channels, count_indices, load_exactly

_WHAT = "an SRVGGNetCompact (Real-ESRGAN's compact network)"


class SRVGGNetCompact(nn.Module):
    """Convolutions with PReLU at the size of the input, one pixel shuffle, added to the frame enlarged by `nearest`.

    Args:
        scale: what sides are multiplied by.
        in_channels: of a frame, input and output.
        channels: of the features.
        num_convs: convolutions between the first and the last.

    Parameters are called as in BasicSR. The features may be in 16 bits; frames and the sum are float32.
    """

    multiple_of = 1

    def __init__(self, *, scale: int = 4, in_channels: int = 3, channels: int = 64, num_convs: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.channels = channels
        layers: list[nn.Module] = [conv3x3(in_channels, channels), nn.PReLU(channels)]
        for _ in range(num_convs):
            layers += [conv3x3(channels, channels), nn.PReLU(channels)]
        self.body = nn.ModuleList([*layers, conv3x3(channels, in_channels * scale**2)])

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Return frames (N, C, scale * H, scale * W), float32, not clipped, of frames (N, C, H, W) of any size."""
        x = frames_NCHW.to(next(self.parameters()).dtype)
        for layer in self.body:
            x = layer(x)
        base = F.interpolate(frames_NCHW, scale_factor=self.scale, mode="nearest")
        return base + F.pixel_shuffle(x, self.scale)

    def receptive_radius(self) -> int | None:
        """Return how far one output pixel sees, in LQ pixels; None where that is too far for exact tiles."""
        return radius_or_none((len(self.body) + 1) // 2)

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one frame or tile, in LQ pixels, without the weights."""
        # A layer's input and output and one copy for a library; at the end what is shuffled, the base and their sum.
        features = 3 * self.channels * bytes_per_value
        output = 3 * self.scale**2 * (2 * bytes_per_value + 8)
        return height * width * (max(features, self.channels * bytes_per_value) + output)


def compact_from(state: Mapping[str, Tensor]) -> SRVGGNetCompact:
    """Build the SRVGGNetCompact that a state dict (BasicSR's names) belongs to; only PReLU is known.

    Raises:
        ModelError: it belongs to none.
    """
    channels, inputs = conv_channels(state, "body.0", what=_WHAT)
    layers = count_indices(state, "body.")
    outputs, _ = conv_channels(state, f"body.{layers - 1}", what=_WHAT)
    scale = isqrt(outputs // inputs)
    if layers < 3 or layers % 2 == 0 or inputs * scale**2 != outputs:
        raise ModelError(
            f"the weights are not those of {_WHAT}: {layers} layers from {inputs} to {outputs} channels; "
            "their number must be odd, and the last must give a square number of values for each channel of a frame"
        )
    return load_exactly(
        lambda: SRVGGNetCompact(scale=scale, in_channels=inputs, channels=channels, num_convs=(layers - 3) // 2),
        state,
        what=_WHAT,
    )
