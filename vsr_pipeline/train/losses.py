"""What training makes small. All inputs are in [0, 1] or near it; all results are scalars."""

import torch
from torch import Tensor

from vsr_pipeline.train.config import LossConfig

_CHARBONNIER_EPSILON = 1e-3
_MSE_FLOOR = 1e-4
"""40 dB: a flat sequence that is better than this is not made better still at the cost of others."""


def distance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Return how far frames (N, T, C, H, W) are from what they should be.

    `l1` is the mean absolute difference, `charbonnier` its form that is smooth at 0. `psnr` is minus the PSNR in dB, of
    each sequence by itself (as in NAFNet, Chen et al., ECCV 2022): a spoiled sequence and a clean one weigh alike, and
    where detail is lost its mean is learnt, not its median.
    """
    difference = a.float() - b.float()
    if kind == "l1":
        return difference.abs().mean()
    if kind == "psnr":
        return 10 * torch.log10(difference.square().flatten(1).mean(1) + _MSE_FLOOR).mean()
    return torch.sqrt(difference.square() + _CHARBONNIER_EPSILON**2).mean()


def luma(frames: Tensor) -> Tensor:
    """Return the luma (..., H, W) of RGB frames (..., 3, H, W), of their range (BT.601)."""
    red, green, blue = frames.float().unbind(-3)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _chroma(frames: Tensor) -> Tensor:
    """Return Cb and Cr (..., 2, H, W) of RGB frames, around 0 (BT.601, full range)."""
    red, _, blue = frames.float().unbind(-3)
    grey = luma(frames)
    return torch.stack(((blue - grey) / 1.772, (red - grey) / 1.402), dim=-3)


def pixel_losses(
    output: Tensor | None, cleaned: Tensor, target: Tensor | None, clean: Tensor, config: LossConfig
) -> dict[str, Tensor]:
    """Return the weighted losses on pixels by name; those that weigh 0 are left out.

    Args:
        output: HR frames.
        cleaned: what the cleaning module made of the LQ frames.
        target: what `output` should be.
        clean: what `cleaned` should be.
        config: kind and weights.
    """
    losses = {}
    if config.output > 0:
        assert output is not None
        assert target is not None
        losses["output"] = config.output * distance(output, target, config.kind)
        if config.chroma > 0:
            losses["chroma"] = config.chroma * distance(_chroma(output), _chroma(target), config.kind)
    if config.cleaning > 0:
        losses["cleaning"] = config.cleaning * distance(cleaned, clean, config.kind)
    return losses
