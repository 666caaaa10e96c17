"""BasicVSR: bidirectional recurrent video super-resolution by a factor of 4 (Chan et al., CVPR 2021).

The network is written as steps (`compute_flow`, `backward_step`, `forward_step`, `reconstruct`), because there are two
ways through them: `forward` takes a whole sequence at once, as the official code does, and
`vsr_pipeline.enhance.realbasicvsr_stream` takes a stream in windows.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.models.bands import in_bands
from vsr_pipeline.models.blocks import PixelShuffleUpsample, ResidualBlocks, conv3x3, conv_relu
from vsr_pipeline.models.spynet import NUM_LEVELS, SPyNet
from vsr_pipeline.models.warp import warp

MIN_SIZE = 64
"""Smallest height and width that the propagation works on; smaller frames are padded and the output is cut."""

RECONSTRUCTION_CHANNELS = 64
"""Of the features at the size of the output in the released models, whatever is propagated."""

RECONSTRUCTION_ROWS = 64
"""Height of a band in reconstruction, in LQ rows: its features at the size of the output would be the peak of the
memory."""

RECONSTRUCTION_REACH = 2
"""Of LQ rows, its four convolutions reach 1, 1/2, 1/4 and 1/4."""


def pad_to_minimum(frames: Tensor) -> Tensor:
    """Extend frames (..., H, W) at the bottom and right to 64 pixels by repeating the border."""
    height, width = frames.shape[-2:]
    if height >= MIN_SIZE and width >= MIN_SIZE:
        return frames
    padding = (0, max(0, MIN_SIZE - width), 0, max(0, MIN_SIZE - height))
    flat = F.pad(frames.flatten(0, -4), padding, mode="replicate")
    return flat.view(*frames.shape[:-2], *flat.shape[-2:])


class BasicVSRNet(nn.Module):
    """Recurrent x4 super-resolution of clean frames.

    Args:
        mid_channels: channels of the propagated features.
        num_blocks: residual blocks in each of the two propagation branches.
        reconstruction_channels: of the features at twice the LQ size and at the size of the output; by default
            `mid_channels` and 64, which the released models have.
        flow_levels: see `SPyNet`.

    The features may be in 16 bits; frames, flows and the final sum stay in float32.

    Attributes:
        details: computes what follows fusion in another way; None: as it is written here.
    """

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 30,
        reconstruction_channels: tuple[int, int] | None = None,
        flow_levels: int = NUM_LEVELS,
    ) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.num_blocks = num_blocks
        self.spynet = SPyNet(flow_levels)
        self.backward_resblocks = ResidualBlocks(mid_channels + 3, mid_channels, num_blocks)
        self.forward_resblocks = ResidualBlocks(mid_channels + 3, mid_channels, num_blocks)
        self.fusion = nn.Conv2d(mid_channels * 2, mid_channels, kernel_size=1)
        twice, whole = reconstruction_channels or (mid_channels, RECONSTRUCTION_CHANNELS)
        self.upsample1 = PixelShuffleUpsample(mid_channels, twice)
        self.upsample2 = PixelShuffleUpsample(twice, whole)
        self.conv_hr = conv3x3(whole, whole)
        self.conv_last = conv3x3(whole, 3)
        self.details: nn.Module | None = None

    def forward(self, frames_NTCHW: Tensor) -> Tensor:
        """Upscale whole sequences.

        Args:
            frames_NTCHW: (N, T, 3, H, W), RGB in [0, 1], float32, any T, H and W of at least 1.

        Returns:
            (N, T, 3, 4H, 4W), not clipped.
        """
        height, width = frames_NTCHW.shape[-2:]
        frames = pad_to_minimum(frames_NTCHW).unbind(dim=1)
        pairs = list(pairwise(frames))
        flows_to_next = [self.compute_flow(a, b) for a, b in pairs]
        flows_to_previous = [self.compute_flow(b, a) for a, b in pairs]
        return self.propagate(frames, flows_to_next, flows_to_previous)[..., : 4 * height, : 4 * width]

    def propagate(
        self, frames: Sequence[Tensor], flows_to_next: Sequence[Tensor], flows_to_previous: Sequence[Tensor]
    ) -> Tensor:
        """Upscale a whole sequence whose flows are known.

        Args:
            frames: T times (N, 3, H, W).
            flows_to_next: T - 1 times (N, 2, H, W), from each frame but the last to the one after it.
            flows_to_previous: likewise, from each frame but the first to the one before it.

        Returns:
            (N, T, 3, 4H, 4W), not clipped.
        """
        backward_features = []
        feature = None
        for frame, flow in zip(reversed(frames), (None, *reversed(flows_to_next)), strict=True):
            feature = self.backward_step(frame, feature, flow)
            backward_features.append(feature)

        outputs = []
        feature = None
        for frame, flow in zip(frames, (None, *flows_to_previous), strict=True):
            feature = self.forward_step(frame, feature, flow)
            outputs.append(self.reconstruct(frame, backward_features.pop(), feature))
        return torch.stack(outputs, dim=1)

    def compute_flow(self, reference_NCHW: Tensor, support_NCHW: Tensor) -> Tensor:
        """Return the flow (N, 2, H, W) that warps the support's features onto the reference."""
        return self.spynet(reference_NCHW, support_NCHW)  # type: ignore[no-any-return]

    def backward_step(self, frame_NCHW: Tensor, next_feature: Tensor | None, flow_to_next: Tensor | None) -> Tensor:
        """Return the backward feature (N, mid, H, W) of a frame from that of the next one (None at the end)."""
        return self._step(self.backward_resblocks, frame_NCHW, next_feature, flow_to_next)

    def forward_step(
        self, frame_NCHW: Tensor, previous_feature: Tensor | None, flow_to_previous: Tensor | None
    ) -> Tensor:
        """Return the forward feature (N, mid, H, W) of a frame from that of the previous one (None at the start)."""
        return self._step(self.forward_resblocks, frame_NCHW, previous_feature, flow_to_previous)

    def _step(self, branch: ResidualBlocks, frame: Tensor, feature: Tensor | None, flow: Tensor | None) -> Tensor:
        dtype = self.fusion.weight.dtype
        if feature is None or flow is None:
            count, _, height, width = frame.shape
            warped = frame.new_zeros((count, self.mid_channels, height, width), dtype=dtype)
        else:
            warped = warp(feature, flow)
        return branch(torch.cat((frame.to(dtype), warped), dim=1))  # type: ignore[no-any-return]

    def reconstruct(self, frame_NCHW: Tensor, backward_feature: Tensor, forward_feature: Tensor) -> Tensor:
        """Return the high-resolution frame (N, 3, 4H, 4W), float32, not clipped."""
        features = (backward_feature, forward_feature)
        details = in_bands(self._details, features, rows=RECONSTRUCTION_ROWS, halo=RECONSTRUCTION_REACH, scale=4)
        base = F.interpolate(frame_NCHW, scale_factor=4, mode="bilinear", align_corners=False)
        return base + details

    def _details(self, backward_feature: Tensor, forward_feature: Tensor) -> Tensor:
        """Return what the network adds to the frame that is enlarged bilinearly (N, 3, 4H, 4W)."""
        x = conv_relu(self.fusion, torch.cat((backward_feature, forward_feature), dim=1), 0.1)
        if self.details is not None:
            return self.details(x)  # type: ignore[no-any-return]
        x = self.upsample2(self.upsample1(x))
        x = conv_relu(self.conv_hr, x, 0.1)
        return self.conv_last(x)  # type: ignore[no-any-return]
