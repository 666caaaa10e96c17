"""RealBasicVSR: BasicVSR behind an image cleaning module (Chan et al., CVPR 2022)."""

from typing import Literal, overload

import torch
from torch import Tensor, nn

from vsr_pipeline.models.basicvsr import BasicVSRNet, pad_to_minimum
from vsr_pipeline.models.blocks import ResidualBlocks, conv3x3
from vsr_pipeline.models.spynet import NUM_LEVELS

MAX_CLEANING_PASSES = 3
"""More passes over-smooth (section 4.2 of the paper)."""


class RealBasicVSRNet(nn.Module):
    """Recurrent x4 super-resolution of degraded frames.

    Args:
        mid_channels: channels of the propagated features.
        num_propagation_blocks: residual blocks in each propagation branch.
        num_cleaning_blocks: residual blocks of the cleaning module.
        cleaning_channels: channels of the cleaning module's features; by default as many as `mid_channels`, which the
            released models have.
        reconstruction_channels: see `BasicVSRNet`.
        flow_levels: see `SPyNet`.
    """

    def __init__(
        self,
        mid_channels: int = 64,
        num_propagation_blocks: int = 20,
        num_cleaning_blocks: int = 20,
        cleaning_channels: int | None = None,
        reconstruction_channels: tuple[int, int] | None = None,
        flow_levels: int = NUM_LEVELS,
    ) -> None:
        super().__init__()
        self.num_cleaning_blocks = num_cleaning_blocks
        self.cleaning_channels = cleaning_channels or mid_channels
        self.image_cleaning = nn.Sequential(
            ResidualBlocks(3, self.cleaning_channels, num_cleaning_blocks), conv3x3(self.cleaning_channels, 3)
        )
        self.basicvsr = BasicVSRNet(mid_channels, num_propagation_blocks, reconstruction_channels, flow_levels)

    @overload
    def forward(
        self, frames_NTCHW: Tensor, refine_threshold: float = ..., return_cleaned: Literal[False] = ...
    ) -> Tensor: ...
    @overload
    def forward(
        self, frames_NTCHW: Tensor, refine_threshold: float = ..., *, return_cleaned: Literal[True]
    ) -> tuple[Tensor, Tensor]: ...
    def forward(
        self, frames_NTCHW: Tensor, refine_threshold: float = 5.0, return_cleaned: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Clean and upscale whole sequences.

        Args:
            frames_NTCHW: (N, T, 3, H, W), RGB in [0, 1], float32, any T, H and W of at least 1.
            refine_threshold: cleaning is repeated while the mean absolute residue of all frames together, in units of
                1/255, is at or above this (255: one pass).
            return_cleaned: also return the cleaned frames (N, T, 3, H, W).

        Returns:
            (N, T, 3, 4H, 4W), not clipped; with `return_cleaned` a pair of it and the cleaned frames.
        """
        height, width = frames_NTCHW.shape[-2:]
        cleaned, _ = self.clean_until(pad_to_minimum(frames_NTCHW), refine_threshold)
        output = self.basicvsr(cleaned)[..., : 4 * height, : 4 * width]
        return (output, cleaned[..., :height, :width]) if return_cleaned else output

    def residue(self, frames_NCHW: Tensor) -> Tensor:
        """Return what one cleaning pass adds to the frames (N, 3, H, W), float32."""
        dtype = self.basicvsr.fusion.weight.dtype
        return self.image_cleaning(frames_NCHW.to(dtype)).float()  # type: ignore[no-any-return]

    def clean(self, frames_NCHW: Tensor, passes: int) -> Tensor:
        """Return the frames (N, 3, H, W) after a given number of cleaning passes."""
        for _ in range(passes):
            frames_NCHW = frames_NCHW + self.residue(frames_NCHW)
        return frames_NCHW

    def clean_until(self, frames_NTCHW: Tensor, refine_threshold: float) -> tuple[Tensor, int]:
        """Dynamic refinement: clean until the residue falls under the threshold, three times at most.

        Returns:
            The cleaned frames (N, T, 3, H, W) and the number of passes.
        """
        passes = 0
        while passes < MAX_CLEANING_PASSES:
            # Frame by frame: features of a whole window at once would be the peak of the memory.
            residues = torch.stack([self.residue(frame) for frame in frames_NTCHW.unbind(dim=1)], dim=1)
            frames_NTCHW = frames_NTCHW + residues
            passes += 1
            if residues.abs().mean() < refine_threshold / 255:
                break
        return frames_NTCHW, passes
