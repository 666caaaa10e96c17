"""One change of size for frames on any device, antialiased: Lanczos with three lobes, as Pillow does it."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.transfer import to_pixels, to_tensor
from vsr_pipeline.media.images import Pixels

_LOBES = 3


def lanczos_resize(frames_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale frames to any size; where they shrink, the kernel is widened by that factor, so that nothing aliases.

    Edges: what would lie outside is left out, and the rest weighs more. The result may overshoot and is not clipped.

    Args:
        frames_NCHW: floating point, on any device; they are computed in float32.
        size: height and width of the result, at least 1 each.

    Returns:
        (N, C, height, width), float32; `frames_NCHW` itself where nothing changes.
    """
    height, width = size
    if min(size) < 1:
        raise ValueError(f"frames cannot be made {width}x{height}")
    resized = frames_NCHW.float()
    # The side that shrinks most comes first: less is left to do for the other.
    sides = sorted(((3, width), (2, height)), key=lambda side: side[1] / resized.shape[side[0]])
    for axis, length in sides:
        if resized.shape[axis] != length:
            resized = _resize_axis(resized, axis, length)
    return resized


@torch.inference_mode()
def resized_pixels(pixels_HW3: Pixels, size: tuple[int, int]) -> Pixels:
    """Scale a frame of integers.

    Args:
        pixels_HW3: RGB, 8 or 16 bits.
        size: width and height of the result.

    Raises:
        OutOfMemoryError: there is not enough memory for it.
    """
    with out_of_memory_as_error():
        return to_pixels(lanczos_resize(to_tensor(pixels_HW3, torch.device("cpu")), size[::-1]), pixels_HW3.dtype)


def _resize_axis(frames: Tensor, axis: int, length: int) -> Tensor:
    places, weights = _taps(frames.shape[axis], length, frames.device)
    shape = [1, 1, 1, 1]
    shape[axis] = length
    total: Tensor | None = None
    for place, weight in zip(places, weights, strict=True):
        part = frames.index_select(axis, place)
        weight = weight.view(shape)
        total = part.mul_(weight) if total is None else total.addcmul_(part, weight)
    assert total is not None
    return total


@lru_cache(maxsize=32)
def _taps(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each tap: which source pixel every target pixel takes, and how much of it; both (taps, target)."""
    factor = source / target
    widening = max(factor, 1.0)
    reach = _LOBES * widening
    centres = (np.arange(target) + 0.5) * factor
    first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centres + reach + 0.5), source).astype(np.int64)
    places = first + np.arange((last - first).max())[:, None]
    weights = np.where(places < last, _lanczos((places + 0.5 - centres) / widening), 0.0)
    weights /= weights.sum(axis=0)
    places = np.minimum(places, source - 1)
    return torch.from_numpy(places).to(device), torch.from_numpy(weights.astype(np.float32)).to(device)


def _lanczos(x: np.ndarray) -> np.ndarray:
    """Return the kernel (Lanczos, 1964): sinc(x) sinc(x / 3) where |x| < 3, else 0."""
    return np.where(np.abs(x) < _LOBES, np.sinc(x) * np.sinc(x / _LOBES), 0.0)
