"""How much a shot is damaged: traces of block coding, and noise, measured without a reference.

A codec transforms blocks of 4 or 8 pixels and rounds what is finest in them to nothing. Blocks of that size that begin
where the codec's do lack their finest detail more often than those that begin anywhere else; in pictures that were
only made smaller, they do not. (The idea is that of the detection of JPEG grids; H.264's filters leave these traces.)
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.media.images import Pixels

_LARGEST = 1024
"""Sides of the middle of a frame that is looked at: more only takes longer."""
_SMALLEST = 32
"""Shorter sides have too few blocks to tell anything."""
_TEXTURE = 1.0
"""Standard deviation from which on a block is not flat: in a flat one, detail that is missing tells nothing."""
_NOTHING = 1.0
"""Largest coefficient, of 255, that counts as none."""
_GRIDS = ((4, 3), (8, 5))
"""Side of a block, and the lowest of its frequencies, both across and down, that are finest."""
_BLOCKS_FOR_HALF = 400
"""Textured blocks by which a measurement counts by half."""
_CLEAREST = 0.5
_WHITE = (0.38, 0.52)
"""Noise has as much detail in both directions at once as in one; texture has less. Between these, it may be both."""

Luma = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Damage:
    """What was measured of frames of one shot."""

    blockiness: float
    """0 and below: no trace of blocks; from 0.3 on the picture was coded so that it shows; 1 is the most."""
    noise: float
    """Standard deviation of the noise in the smoothest tenth, of 255; 0 where it is not told from texture."""

    @property
    def share(self) -> float:
        """0: clean, 1: damaged, in steps of 0.05, so that rounding of other processors decides alike."""
        blocks = (self.blockiness - 0.27) / 0.06
        noise = (self.noise - 1.0) / 1.0
        return round(20 * min(1.0, max(0.0, blocks, noise))) / 20


def damage_of(frames: Iterable[Pixels]) -> Damage:
    """Measure frames (H, W, 3) of one shot, as the codec gave them: a frame that was cut or scaled shows no grid.

    Frames smaller than 32 pixels tell nothing, and count as damaged: cleaning is what was always done.
    """
    grids = [(np.zeros((side, side)), np.zeros((side, side))) for side, _ in _GRIDS]
    noises = []
    for pixels in frames:
        luma = _middle(pixels)
        if min(luma.shape) < _SMALLEST:
            return Damage(1.0, 0.0)
        # Deinterlacing makes every other line of its neighbours: between those lines, noise is white no more.
        noises.append(max(_noise(lines) for lines in (luma, luma[::2], luma[1::2])))
        for (side, lowest), (bare, textured) in zip(_GRIDS, grids, strict=True):
            _count_bare(luma, side, lowest, bare, textured)
    trust = grids[0][1][0, 0] / (grids[0][1][0, 0] + _BLOCKS_FOR_HALF)
    blockiness = trust * sum(_contrast(bare, textured) for bare, textured in grids)
    return Damage(float(blockiness), float(np.mean(noises)))


def _middle(pixels: Pixels) -> Luma:
    """(H, W) brightness of the middle of a frame, 0 to 255, beginning where a block may begin."""
    height, width = pixels.shape[:2]
    rows, columns = min(height, _LARGEST), min(width, _LARGEST)
    top, left = (height - rows) // 16 * 8, (width - columns) // 16 * 8
    part = pixels[top : top + rows, left : left + columns].astype(np.float32)
    weights = np.array([0.299, 0.587, 0.114], np.float32) / (257 if pixels.itemsize == 2 else 1)
    return np.asarray(part @ weights, np.float32)


def _count_bare(
    luma: Luma, side: int, lowest: int, bare: npt.NDArray[np.float64], textured: npt.NDArray[np.float64]
) -> None:
    """Add the blocks with texture, and those of them without the finest detail, by where they begin in the grid."""
    waves = _waves(side)
    finest = np.zeros_like(luma)
    for down in range(lowest, side):
        by_rows = cv2.filter2D(luma, -1, waves[down][:, None], anchor=(0, 0))
        for across in range(lowest, side):
            coefficients = cv2.filter2D(by_rows, -1, waves[across][None, :], anchor=(0, 0))
            np.maximum(finest, np.abs(coefficients), out=finest)
    around = (side + 2, side + 2)
    mean = cv2.boxFilter(luma, -1, around)
    variance = cv2.boxFilter(luma * luma, -1, around) - mean * mean
    rows, columns = ((length - side) // side * side for length in luma.shape)
    half = side // 2
    has_texture = variance[half : half + rows, half : half + columns] > _TEXTURE**2
    is_bare = (finest[:rows, :columns] < _NOTHING) & has_texture
    shape = (rows // side, side, columns // side, side)
    textured += has_texture.reshape(shape).sum((0, 2))
    bare += is_bare.reshape(shape).sum((0, 2))


def _waves(side: int) -> Luma:
    """(frequency, place) orthonormal cosines."""
    places = np.pi * (2 * np.arange(side) + 1) / (2 * side)
    waves = np.cos(np.arange(side)[:, None] * places)
    return np.asarray(waves / np.linalg.norm(waves, axis=1, keepdims=True), np.float32)


def _contrast(bare: npt.NDArray[np.float64], textured: npt.NDArray[np.float64]) -> float:
    """How much likelier a block lacks detail in the codec's grid than in those off it in both directions: log odds."""
    odds = np.log((bare + 2) / (textured - bare + 6))
    return float(np.clip(odds[0, 0] - odds[1:, 1:].mean(), -0.1, _CLEAREST))


def _noise(luma: Luma) -> float:
    """Standard deviation of what is white in the smoothest tenth of a frame."""
    rows, columns = (length // 16 * 16 for length in luma.shape)
    part = luma[:rows, :columns]
    a, b, c, d = part[::2, ::2], part[::2, 1::2], part[1::2, ::2], part[1::2, 1::2]
    both, down, across = (_energy(x) for x in (a - b - c + d, a + b - c - d, a - b + c - d))
    smoothest = np.argsort(both + down + across, kind="stable")[: max(4, len(both) // 10)]
    energy = float(np.median(both[smoothest]))
    one_way = float(np.median((down + across)[smoothest])) / 2
    low, high = _WHITE
    whiteness = (energy / (one_way + 1e-3) - low) / (high - low)
    return float(np.sqrt(energy)) * min(1.0, max(0.0, whiteness))


def _energy(doubled: Luma) -> npt.NDArray[np.float32]:
    """Mean square of blocks of 8x8 of detail that is given twice as large."""
    rows, columns = doubled.shape
    squares = (doubled * doubled / 4).reshape(rows // 8, 8, columns // 8, 8)
    return np.asarray(squares.mean((1, 3)).ravel(), np.float32)
