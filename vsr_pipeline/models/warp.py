"""Backward warping of pictures and features by optical flow."""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

COPY_BYTES = 64 * 1024**2
"""Features in 16 bits are sampled in float32. Of large ones, only so many bytes are converted at a time."""


def warp(features_NCHW: Tensor, flow_N2HW: Tensor, *, padding_mode: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Sample `features` at every pixel's own place plus its flow, bilinearly (align_corners=True).

    Args:
        features_NCHW: what is sampled.
        flow_N2HW: displacement in pixels, x then y, float32 whatever the features' type: half a pixel in a row of
            thousands is beyond 16 bits.
        padding_mode: what lies outside: zeros (features), or the nearest border pixel (pictures in SPyNet).

    Returns:
        Warped features in the type of the features.
    """
    count, channels, height, width = features_NCHW.shape
    rows = torch.arange(height, device=flow_N2HW.device, dtype=torch.float32).view(1, height, 1)
    columns = torch.arange(width, device=flow_N2HW.device, dtype=torch.float32).view(1, 1, width)
    flow = flow_N2HW.float()
    x = (columns + flow[:, 0]) * (2.0 / max(width - 1, 1)) - 1.0
    y = (rows + flow[:, 1]) * (2.0 / max(height - 1, 1)) - 1.0
    grid_NHW2 = torch.stack((x, y), dim=-1)

    def sample(channels_NCHW: Tensor) -> Tensor:
        return F.grid_sample(
            channels_NCHW.float(), grid_NHW2, mode="bilinear", padding_mode=padding_mode, align_corners=True
        )

    group = max(1, COPY_BYTES // (4 * count * height * width))
    if features_NCHW.dtype == torch.float32 or group >= channels:
        return sample(features_NCHW).to(features_NCHW.dtype)
    warped = torch.empty_like(features_NCHW)
    for part, target in zip(torch.split(features_NCHW, group, dim=1), torch.split(warped, group, dim=1), strict=True):
        target.copy_(sample(part))
    return warped
