"""Changes of size, all centred: no filter shifts the picture."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.degrade.chains import Filter

FloatFrame = npt.NDArray[Any]
"""(height, width, 3), float32, RGB, 0 is black and 1 is white."""

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


def antialiased_bicubic(frame: FloatFrame, size: tuple[int, int]) -> FloatFrame:
    """Bicubic (a = -0.5) whose kernel is widened by the factor when shrinking; edges are mirrored. May overshoot.

    This is MATLAB's `imresize`, which made the LQ frames that BasicVSR is trained and measured on.
    """
    for axis in (0, 1):
        if frame.shape[axis] != size[axis]:
            frame = _filter_axis(frame, size[axis], axis)
    return frame


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


def _filter_axis(frame: FloatFrame, length: int, axis: int) -> FloatFrame:
    indices, weights = _taps(frame.shape[axis], length)
    shape = [1, 1, 1]
    shape[axis] = length
    total: FloatFrame | None = None
    for index, weight in zip(indices, weights, strict=True):
        part: FloatFrame = frame.take(index, axis=axis)
        part *= weight.reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each tap: which source pixel every target pixel takes, and how much of it; both (taps, target)."""
    factor = min(target / source, 1.0)  # below 1 the kernel is widened, which is the antialiasing
    centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    half_width = 2 / factor
    first = np.floor(centres - half_width).astype(np.int64) + 1
    places = first + np.arange(int(np.ceil(2 * half_width)))[:, None]
    weights = _cubic((places - centres) * factor)
    weights /= weights.sum(axis=0)
    mirrored = places % (2 * source)
    return np.minimum(mirrored, 2 * source - 1 - mirrored), weights.astype(np.float32)


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5 (1981)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    values: npt.NDArray[np.float64] = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return values
