"""Statistics that pictures of the real world share and faults change: what NIQE and BRISQUE are made of.

Method: Mittal, Moorthy and Bovik, "No-Reference Image Quality Assessment in the Spatial Domain" (2012), section III.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vsr_pipeline.metrics.fidelity import FloatArray

_SHAPES = np.arange(200, 10001) / 1000
"""Of the distributions that are tried: from nearly all in the middle to nearly uniform."""
_NO_TEXTURE = 1e-9
"""Below it a contrast is a rounding error, such as that of a flat area."""


def normalized(plane: FloatArray, border: int, least: float) -> FloatArray:
    """Subtract from a plane (H, W) its local mean, and divide by its local standard deviation plus `least`.

    Local is a Gaussian window of 7 x 7 with sigma 7/6; beyond the edges, the plane goes on as OpenCV's `border` says.
    """

    def smooth(x: FloatArray) -> FloatArray:
        return cv2.GaussianBlur(x, (7, 7), 7 / 6, borderType=border)  # type: ignore[return-value]

    mean = smooth(plane)
    deviation = np.sqrt(np.abs(smooth(plane**2) - mean**2))
    contrast = (plane - mean) / (deviation + least)
    contrast[np.abs(contrast) < _NO_TEXTURE] = 0
    return contrast


@dataclass(frozen=True, slots=True)
class AsymmetricGaussians:
    """Asymmetric generalized Gaussian distributions, each array (N,); NaN where there is nothing to fit one to.

    `shape` is 2 for a Gaussian and less for heavier tails; `left` and `right` are the standard deviations of the
    negative and of the positive values, `left_scale` and `right_scale` the distribution's parameters for them.
    """

    shape: FloatArray
    left: FloatArray
    right: FloatArray

    @property
    def left_scale(self) -> FloatArray:
        """Called beta_l in the papers."""
        return self.left * np.exp((_log_gamma(1 / self.shape) - _log_gamma(3 / self.shape)) / 2)

    @property
    def right_scale(self) -> FloatArray:
        """Called beta_r in the papers."""
        return self.right * np.exp((_log_gamma(1 / self.shape) - _log_gamma(3 / self.shape)) / 2)

    @property
    def mean(self) -> FloatArray:
        """Called eta in the papers."""
        steepness = np.exp(_log_gamma(2 / self.shape) - _log_gamma(1 / self.shape))
        return (self.right_scale - self.left_scale) * steepness


def fit(samples: FloatArray, *, zeros_are_right: bool) -> AsymmetricGaussians:
    """Fit a distribution to each row of samples (N, M) by its moments (Lasmar, Stitou and Berthoumieu, 2009).

    Zeros, which flat areas give, count for the right side or for neither. Shapes are from 0.2 to 10.
    """
    low, high = np.minimum(samples, 0), np.maximum(samples, 0)
    low_squares, high_squares = np.einsum("nm,nm->n", low, low), np.einsum("nm,nm->n", high, high)
    low_count = np.count_nonzero(low, axis=1)
    high_count = samples.shape[1] - low_count if zeros_are_right else np.count_nonzero(high, axis=1)
    magnitude = (high.sum(axis=1) - low.sum(axis=1)) / samples.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = np.sqrt(low_squares / low_count), np.sqrt(high_squares / high_count)
        ratio = left / right
        peakedness = magnitude**2 * samples.shape[1] / (low_squares + high_squares)
        peakedness *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return AsymmetricGaussians(np.interp(peakedness, _PEAKEDNESS, _SHAPES), left, right)


def _log_gamma(x: FloatArray) -> FloatArray:
    values = [math.lgamma(value) if math.isfinite(value) else math.nan for value in x]
    return np.array(values)


_PEAKEDNESS = np.exp(2 * _log_gamma(2 / _SHAPES) - _log_gamma(1 / _SHAPES) - _log_gamma(3 / _SHAPES))
"""Squared mean magnitude over mean square of a symmetric distribution of each shape; it increases."""
