"""Blur kernels, as Real-ESRGAN defines them (Wang et al., 2021, section 3.1 and 3.2), with the sum 1.

Each is an array (size, size), float32, `size` odd, centred: symmetric under a turn by 180 degrees, so that convolution
and correlation are the same and nothing is shifted.
"""

from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt

Kernel = npt.NDArray[np.float32]

# A narrower Gaussian cannot be told from none, and its inverse overflows.
_MIN_SIGMA = 0.05


def gaussian(
    size: int, sigma_x: float, sigma_y: float, angle: float = 0.0, *, beta: float = 1.0, plateau: bool = False
) -> Kernel:
    """Gaussian kernel, generalised by a shape `beta`, or with a flat top.

    With the Mahalanobis distance d of a pixel from the centre: exp(-d^(2 beta) / 2), or 1 / (1 + d^(2 beta)) for a
    plateau. beta = 1 of the former is the Gaussian proper.

    Args:
        size: width and height in pixels, odd.
        sigma_x: standard deviation in pixels along x, before the turn.
        sigma_y: likewise along y.
        angle: turn of the axes in radians.
        beta: the shape.
        plateau: a flat top.
    """
    x, y = _grid(size)
    along = (np.cos(angle) * x + np.sin(angle) * y) / max(sigma_x, _MIN_SIGMA)
    across = (np.cos(angle) * y - np.sin(angle) * x) / max(sigma_y, _MIN_SIGMA)
    distance = (along**2 + across**2) ** beta
    return _normalised(1 / (1 + distance) if plateau else np.exp(-distance / 2))


def sinc(size: int, cutoff: float) -> Kernel:
    """Circular low pass at `cutoff` radians per pixel, which rings: cutoff / (2 pi r) * J1(cutoff * r)."""
    x, y = _grid(size)
    squared = (x**2 + y**2).astype(np.int64)
    squares, places = np.unique(squared, return_inverse=True)
    radii = np.sqrt(squares[1:])
    values = np.concatenate([[cutoff**2 / (4 * np.pi)], cutoff * _bessel_j1(cutoff * radii) / (2 * np.pi * radii)])
    return _normalised(values[places.reshape(squared.shape)])


def _bessel_j1(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bessel function of the first kind and order one, from its integral; exact to 1e-12 up to x = 100.

    The trapezoidal rule converges exponentially on a periodic integrand.
    """
    tau = np.arange(256) * (2 * np.pi / 256)
    return cast("npt.NDArray[np.float64]", np.cos(tau - x[:, None] * np.sin(tau)).mean(axis=1))


@lru_cache(maxsize=64)
def _grid(size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    line = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(line, line)
    return x, y


def _normalised(kernel: npt.NDArray[np.float64]) -> Kernel:
    normalised: Kernel = (kernel / kernel.sum()).astype(np.float32)
    return normalised
