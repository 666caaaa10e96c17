"""How near a frame is to its reference: MSE, PSNR and SSIM, on RGB and on luma."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.media.images import Pixels

FloatArray = npt.NDArray[np.float64]


def mse(a: FloatArray, b: FloatArray) -> float:
    """Mean squared error of two arrays of the same shape."""
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ")
    return float(np.mean((a - b) ** 2))


def psnr(a: FloatArray, b: FloatArray) -> float:
    """Peak signal-to-noise ratio in dB of two arrays of the same shape with a peak of 255."""
    return psnr_of(mse(a, b))


def psnr_of(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error, with a peak of 255; infinite where there is none."""
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: FloatArray, b: FloatArray) -> float:
    """Structural similarity of two planes (H, W) with a peak of 255 (Wang et al., 2004).

    Gaussian window of 11 x 11 with sigma 1.5; the border that the window does not fit into is left out.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def smooth(x: FloatArray) -> FloatArray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5]  # type: ignore[return-value]

    mean_a, mean_b = smooth(a), smooth(b)
    variance_a = smooth(a * a) - mean_a**2
    variance_b = smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    quality = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return float(quality.mean())


def luma(rgb: FloatArray) -> FloatArray:
    """Luma (H, W), 16 to 235, of RGB (H, W, 3), 0 to 255: BT.601, studio range, not rounded, the field's Y channel."""
    weights = np.array([65.481, 128.553, 24.966])
    return 16 + rgb @ weights / 255  # type: ignore[no-any-return]


def to_255(pixels: Pixels) -> FloatArray:
    """Samples as float64 from 0 to 255, whatever their depth."""
    return pixels.astype(np.float64) * (255 / np.iinfo(pixels.dtype).max)
