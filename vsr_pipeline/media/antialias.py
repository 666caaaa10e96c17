"""Bicubic change of size as MATLAB does it."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatFrame = npt.NDArray[Any]
"""(height, width, channels), float32, RGB, 0 is black and 1 is white; `antialiased_bicubic` takes any floats."""


def antialiased_bicubic(frame: FloatFrame, size: tuple[int, int]) -> FloatFrame:
    """Bicubic (a = -0.5) whose kernel is widened by the factor when shrinking; edges are mirrored. May overshoot.

    This is MATLAB's `imresize`, which made the LQ frames that BasicVSR is trained and measured on.
    """
    for axis in (0, 1):
        if frame.shape[axis] != size[axis]:
            frame = _filter_axis(frame, size[axis], axis)
    return frame


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
