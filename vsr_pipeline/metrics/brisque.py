"""BRISQUE: what viewers would say of a picture, learnt from their votes on five kinds of fault.

Method: Mittal, Moorthy and Bovik, "No-Reference Image Quality Assessment in the Spatial Domain" (2012).
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.metrics.fidelity import FloatArray
from vsr_pipeline.metrics.scene_statistics import fit, normalized

_LEAST_SIDE = 14
"""In pixels: the window of 7 fits into half of it."""
_GREY = np.array([0.2125, 0.7154, 0.0721])
"""Weights of R, G and B that the regression was made with."""


def brisque(rgb: FloatArray) -> float | None:
    """Score a picture (H, W, 3), 0 to 255: from about 0 for a clean photograph to 100; less is better.

    Values a little outside are possible. None for a picture with a side under 14 pixels or without texture.
    """
    if min(rgb.shape[:2]) < _LEAST_SIDE:
        return None
    grey = rgb @ _GREY / 255
    half = np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC))
    features = np.concatenate([_features(grey), _features(half)])
    if not np.isfinite(features).all():
        return None
    return _regression()(features)


def _features(plane: FloatArray) -> FloatArray:
    """18 numbers of a plane (H, W)."""
    contrast = normalized(plane, cv2.BORDER_CONSTANT, 1 / 255)
    pixels = fit(contrast.reshape(1, -1), zeros_are_right=True)
    features = [pixels.shape, (pixels.left**2 + pixels.right**2) / 2]
    for products in (
        contrast[:, :-1] * contrast[:, 1:],
        contrast[:-1] * contrast[1:],
        contrast[:-1, :-1] * contrast[1:, 1:],
        contrast[1:, :-1] * contrast[:-1, 1:],
    ):
        pairs = fit(products.reshape(1, -1), zeros_are_right=True)
        features += [pairs.shape, pairs.mean, pairs.left**2, pairs.right**2]
    return np.concatenate(features)


@dataclass(frozen=True, slots=True)
class _Regression:
    """A support vector regression with a Gaussian kernel, and the ranges that features (36,) are brought from."""

    vectors: FloatArray  # (support vectors, 36), -1 to 1
    coefficients: FloatArray  # (support vectors,)
    rho: float
    gamma: float
    low: FloatArray  # (36,)
    high: FloatArray  # (36,)

    def __call__(self, features: FloatArray) -> float:
        place = 2 * (features - self.low) / (self.high - self.low) - 1
        nearness = np.exp(-self.gamma * ((self.vectors - place) ** 2).sum(axis=1))
        return float(nearness @ self.coefficients - self.rho)


@lru_cache(maxsize=1)
def _regression() -> _Regression:
    with np.load(Path(__file__).with_name("brisque.npz")) as numbers:
        return _Regression(**{name: numbers[name].astype(np.float64) for name in numbers})
