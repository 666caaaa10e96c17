"""Colour at half the size (4:2:0), made and enlarged again as cameras, converters and players do it, well or badly."""

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.degrade.chains import ChromaFilter
from vsr_pipeline.media.antialias import FloatFrame

_INTERPOLATIONS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}
# BT.601: luma, and the colour differences that it leaves.
_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32
)
_TO_RGB: npt.NDArray[np.float32] = np.linalg.inv(_TO_YCBCR).astype(np.float32)


def subsampled(
    frame: FloatFrame,
    *,
    shrink: ChromaFilter,
    enlarge: ChromaFilter,
    shift: tuple[float, float],
) -> FloatFrame:
    """Return an RGB frame (H, W, 3) in [0, 1] whose colour went through half the size; luma stays.

    Args:
        frame: its values.
        shrink: how colour is made smaller.
        enlarge: how it is made larger again.
        shift: where colour lies afterwards, in pixels to the right and down, as with a wrong chroma location.
    """
    height, width = frame.shape[:2]
    ycbcr = frame.reshape(-1, 3) @ _TO_YCBCR.T
    colour = ycbcr[:, 1:].reshape(height, width, 2)
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(colour, half, interpolation=_INTERPOLATIONS[shrink])
    large = cv2.resize(small, (width, height), interpolation=_INTERPOLATIONS[enlarge])
    if any(shift):
        motion = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float32)
        large = cv2.warpAffine(large, motion, (width, height), borderMode=cv2.BORDER_REPLICATE)
    ycbcr[:, 1:] = large.reshape(-1, 2)
    return (ycbcr @ _TO_RGB.T).reshape(height, width, 3).clip(0, 1)


def saturated(frames: FloatFrame, factor: float) -> FloatFrame:
    """Return RGB frames (..., 3) in [0, 1] with their colour differences times `factor`, clipped; luma stays."""
    luma = frames @ _TO_YCBCR[0]
    vivid: FloatFrame = (luma[..., None] + np.float32(factor) * (frames - luma[..., None])).clip(0, 1)
    return vivid
