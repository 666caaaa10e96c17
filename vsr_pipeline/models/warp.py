"""Backward warping of pictures and features by optical flow."""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


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
    _, _, height, width = features_NCHW.shape
    rows = torch.arange(height, device=flow_N2HW.device, dtype=torch.float32).view(1, height, 1)
    columns = torch.arange(width, device=flow_N2HW.device, dtype=torch.float32).view(1, 1, width)
    flow = flow_N2HW.float()
    x = (columns + flow[:, 0]) * (2.0 / max(width - 1, 1)) - 1.0
    y = (rows + flow[:, 1]) * (2.0 / max(height - 1, 1)) - 1.0
    warped = F.grid_sample(
        features_NCHW.float(),
        torch.stack((x, y), dim=-1),
        mode="bilinear",
        padding_mode=padding_mode,
        align_corners=True,
    )
    return warped.to(features_NCHW.dtype)
