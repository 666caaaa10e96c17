"""Soft coloured shapes, at rest and moving."""

import cv2
import numpy as np


def picture(height=128, width=128, seed=0):
    """Soft coloured shapes, between 0.1 and 0.9."""
    small = np.random.default_rng(seed).uniform(-0.5, 1.5, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.1, 0.9)


def clip(frames=6, height=128, width=128):
    """The picture, moving by 3 pixels a frame."""
    wide = picture(height, width + 3 * frames)
    return np.stack([wide[:, 3 * i : 3 * i + width] for i in range(frames)])
