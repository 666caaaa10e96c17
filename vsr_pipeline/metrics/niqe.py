"""NIQE: how far a picture's statistics are from those of pristine photographs.

Method: Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer" (2013).
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.media.antialias import antialiased_bicubic
from vsr_pipeline.metrics.fidelity import FloatArray, luma
from vsr_pipeline.metrics.scene_statistics import fit, normalized

_SIDE = 96
"""Of the square blocks, in pixels."""
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps (down, right) to the neighbours that a pixel is multiplied with."""


def niqe(rgb: FloatArray) -> float | None:
    """Score a picture (H, W, 3), 0 to 255: from about 2 for a clean photograph to above 10; less is better.

    It is taken of the luma, rounded, in blocks of 96 x 96 pixels; what is left at the right and at the bottom does not
    count. All blocks with texture count, not the sharp ones alone: that is for the pristine pictures. Blocks without,
    such as black bars, are left out; what the authors' code makes of them depends on rounding. None where fewer than
    two blocks have texture.
    """
    height, width = (side // _SIDE * _SIDE for side in rgb.shape[:2])
    if not (height and width):
        return None
    plane = np.rint(luma(rgb[:height, :width]))
    half = antialiased_bicubic(plane[..., None], (height // 2, width // 2))[..., 0]
    features = np.concatenate([_features(plane, _SIDE), _features(half, _SIDE // 2)], axis=1)
    features = features[np.isfinite(features).all(axis=1)]
    if len(features) < 2:
        return None
    pristine_mean, pristine_covariance = _pristine()
    difference = pristine_mean - features.mean(axis=0)
    covariance = (pristine_covariance + np.cov(features, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference))


def _features(plane: FloatArray, side: int) -> FloatArray:
    """18 numbers for each block of a plane (H, W), whose sides are multiples of `side`: (blocks, 18)."""
    height, width = plane.shape
    contrast = normalized(plane, cv2.BORDER_REPLICATE, 1.0)
    blocks = contrast.reshape(height // side, side, width // side, side).swapaxes(1, 2).reshape(-1, side, side)
    pixels = fit(blocks.reshape(len(blocks), -1), zeros_are_right=False)
    columns = [pixels.shape, (pixels.left_scale + pixels.right_scale) / 2]
    for step in _NEIGHBOURS:
        products = blocks * np.roll(blocks, step, axis=(1, 2))  # around the block's edges, as the authors do it
        pairs = fit(products.reshape(len(blocks), -1), zeros_are_right=False)
        columns += [pairs.shape, pairs.mean, pairs.left_scale, pairs.right_scale]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=1)
def _pristine() -> tuple[FloatArray, FloatArray]:
    """Mean (36,) and covariance (36, 36) of the features of the authors' pristine pictures."""
    with np.load(Path(__file__).with_name("niqe.npz")) as numbers:
        return numbers["mu_pris_param"][0], numbers["cov_pris_param"]
