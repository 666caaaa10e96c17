"""Transparency around a model that knows RGB alone: colours are multiplied by it, enlarged, and divided again.

So colours that nobody sees do not reach the edges (Porter and Duff, Compositing digital images, 1984).
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.media.images import Pixels

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Alpha, (H, W): 0 is transparent, the largest value opaque; of the type of the picture."""

_WHITE_16 = 65535
_SWING = 3  # so many times farther than their colours, edges are seen


def is_opaque(alpha: Plane) -> bool:
    """Whether nothing of a picture is transparent."""
    return bool(alpha.min() == np.iinfo(alpha.dtype).max)


def premultiplied(pixels: Pixels, alpha: Plane) -> npt.NDArray[np.uint16]:
    """Return colours (H, W, 3) times alpha (H, W), in 16 bits, so that dark ones keep their shades."""
    factor = alpha.astype(np.float32) * np.float32(_WHITE_16 / np.iinfo(alpha.dtype).max / np.iinfo(pixels.dtype).max)
    return np.rint(pixels * factor[..., None]).astype(np.uint16)


def straight(pixels: Pixels, alpha: Plane) -> Pixels:
    """Return colours (H, W, 3) divided by alpha (H, W), of the type that they have; transparent ones are black."""
    top = np.float32(np.iinfo(pixels.dtype).max)
    share = alpha.astype(np.float32) / np.iinfo(alpha.dtype).max
    colours = pixels / np.where(share > 0, share, np.inf)[..., None]
    rounded: Pixels = np.rint(np.minimum(colours, top)).astype(pixels.dtype)  # type: ignore[assignment]
    return rounded


def within_neighbours(enlarged: Plane, source: Plane, reach: int) -> Plane:
    """Return an enlarged alpha (H, W), nowhere outside what the source (h, w) has within `reach` pixels.

    So what is opaque stays so, and what is transparent: a network's white is not quite white.
    """
    low, high = _range_around(source, source, enlarged.shape, reach)
    bounded: Plane = np.clip(enlarged, low, high)  # type: ignore[assignment]
    return bounded


def divided(pixels: Pixels, alpha: Plane, source: Pixels, source_alpha: Plane, reach: int) -> Pixels:
    """Return the colours of an enlarged picture that was `premultiplied`.

    Near what is not opaque, they stay within those that can be seen in the source within `reach` pixels: models swing
    over at edges, in colours times alpha otherwise than in alpha, which would be a line around everything.

    Args:
        pixels: (H, W, 3), 16 bits.
        alpha: (H, W), enlarged.
        source: (h, w, 3), before it was multiplied.
        source_alpha: (h, w).
        reach: pixels of the source.

    Returns:
        (H, W, 3), 16 bits.
    """
    colours = straight(pixels, alpha)
    top = np.iinfo(source.dtype).max
    is_seen = source_alpha[..., None] > 0
    seen_or_white = np.where(is_seen, source, source.dtype.type(top))
    seen_or_black = np.where(is_seen, source, source.dtype.type(0))
    low, high = _range_around(seen_or_white, seen_or_black, alpha.shape, reach)
    if source.itemsize == 1:
        low, high = low.astype(np.uint16) * 257, high.astype(np.uint16) * 257
    least, _ = _range_around(source_alpha, source_alpha, alpha.shape, _SWING * reach)
    is_inside = (least == np.iinfo(alpha.dtype).max)[..., None]
    return np.where(is_inside, colours, np.clip(colours, low, high))


def on_white(pixels: Pixels, alpha: Plane) -> Pixels:
    """Return a picture (H, W, 3) laid on white."""
    top = np.iinfo(pixels.dtype).max
    share = (alpha.astype(np.float32) / np.iinfo(alpha.dtype).max)[..., None]
    laid: Pixels = np.rint(top + (pixels.astype(np.float32) - top) * share).astype(pixels.dtype)  # type: ignore[assignment]
    return laid


def _range_around(
    lowest_of: npt.NDArray[Any], highest_of: npt.NDArray[Any], shape: tuple[int, ...], reach: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the least and the largest value around each place, in the size (H, W) of the enlarged picture."""
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    size = (shape[1], shape[0])
    low = cv2.resize(cv2.erode(lowest_of, around), size, interpolation=cv2.INTER_NEAREST_EXACT)
    high = cv2.resize(cv2.dilate(highest_of, around), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return low, high
