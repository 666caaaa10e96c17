"""Changes of size, all centred: no filter shifts the picture."""

import cv2
import numpy as np

from vsr_pipeline.degrade.chains import Filter
from vsr_pipeline.media.antialias import FloatFrame, antialiased_bicubic

_OPENCV = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "bicubic": cv2.INTER_CUBIC}


def resize(frame: FloatFrame, size: tuple[int, int], method: Filter) -> FloatFrame:
    """Scale to `size` (height, width).

    "antialiased" is bicubic as MATLAB's `imresize` does it; "bilinear" and "bicubic" take the pixels next to each
    sample only, as OpenCV does, and alias when they shrink; "area" is the mean of what a new pixel covers.
    """
    if method == "antialiased":
        return antialiased_bicubic(frame, size)
    if frame.shape[:2] == size:
        return frame
    resized: FloatFrame = cv2.resize(frame, (size[1], size[0]), interpolation=_OPENCV[method])
    return resized


def bicubic_quarter(frames: FloatFrame) -> FloatFrame:
    """Shrink clean frames (..., height, width, 3) in [0, 1] to a quarter, as BasicVSR's LQ frames are made.

    Raises:
        ValueError: height or width is no multiple of 4.
    """
    *leading, height, width, channels = frames.shape
    if height % 4 or width % 4:
        raise ValueError(f"{width}x{height} frames have no exact quarter")
    size = (height // 4, width // 4)
    shrunk = np.stack([antialiased_bicubic(frame, size) for frame in frames.reshape(-1, height, width, channels)])
    quarter: FloatFrame = shrunk.clip(0, 1).reshape(*leading, *size, channels)
    return quarter
