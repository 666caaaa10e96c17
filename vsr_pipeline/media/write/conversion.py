"""What is between RGB and a planar YUV format, as numbers; and frames that are YUV already."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.media.images import Pixels

Taps = tuple[float, float, float]
"""Weights of a sample and its neighbours along one axis."""


@dataclass(frozen=True, kw_only=True)
class YuvConversion:
    """From RGB, 0 to 1, to the samples of a format.

    Attributes:
        affine: (3, 4), rows of Y, Cb, Cr from R, G, B and 1.
        peak: the largest sample.
        step_x, step_y: pixels for each chroma sample, 1 or 2.
        filter_x, filter_y: for chroma, the taps and the first pixel that a sample lies on.
    """

    affine: npt.NDArray[np.float64]
    peak: int
    step_x: int
    step_y: int
    filter_x: tuple[Taps, int]
    filter_y: tuple[Taps, int]

    @cached_property
    def sample_type(self) -> "np.dtype[np.uint8] | np.dtype[np.uint16]":
        """Of the samples."""
        return np.dtype(np.uint8) if self.peak <= np.iinfo(np.uint8).max else np.dtype(np.uint16)

    def coded_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels of the frames for arrays of this size: whole chroma samples."""
        return width + -width % self.step_x, height + -height % self.step_y


@dataclass(frozen=True, eq=False, slots=True)
class Planes:
    """A frame in YUV: three arrays (height, width) of the conversion's sample type, of whole chroma samples."""

    samples: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
    conversion: YuvConversion

    def to_rgb(self) -> Pixels:
        """Return the frame as (height, width, 3), RGB, uint8, for pictures of a report: chroma is not interpolated."""
        height, width = self.samples[0].shape
        yuv = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST) for plane in self.samples]
        matrix, zeros = self.conversion.affine[:, :3], self.conversion.affine[:, 3]
        inverse = 255 * np.linalg.inv(matrix)
        rgb = cv2.transform(np.dstack(yuv).astype(np.float32), np.column_stack([inverse, -inverse @ zeros]))
        pixels: Pixels = np.rint(rgb).clip(0, 255).astype(np.uint8)
        return pixels
