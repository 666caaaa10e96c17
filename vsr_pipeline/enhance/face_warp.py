"""From a face in a frame to the square that a network for faces sees, and back, on any device.

The square is that of FFHQ (Karras et al., 2019) as GFPGAN uses it: 512 pixels, eyes, nose and mouth in fixed places.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

SIDE = 512
"""Of the square, in pixels."""

# Right eye, left eye, nose, right and left corner of the mouth, in pixels of the square.
_TEMPLATE = np.array(
    [(192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15)], np.float64
)
# The face in the square: middle and half axes of an ellipse that counts fully; it fades out to so many times that.
_MIDDLE, _AXES, _FADED = (256.0, 290.0), (140.0, 160.0), 1.35


@dataclass(frozen=True, slots=True)
class Similarity:
    """Turns, scales and moves points of a frame, as complex numbers x + iy, to the square: `a * z + b`."""

    a: complex
    b: complex

    @classmethod
    def of(cls, points: npt.NDArray[np.float64]) -> "Similarity":
        """Return that which brings five points (5, 2) nearest to the template, by least squares.

        Source: Umeyama, 1991, which in the plane is a regression over complex numbers.
        """
        z, w = (values[:, 0] + 1j * values[:, 1] for values in (points, _TEMPLATE))
        centred, target = z - z.mean(), w - w.mean()
        a = complex((centred.conj() * target).sum() / (abs(centred) ** 2).sum())
        return cls(a, complex(w.mean() - a * z.mean()))

    @property
    def pixels_of_frame(self) -> float:
        """How many pixels of the frame, along a side, one pixel of the square shows."""
        return 1 / abs(self.a)


def crop(hr: Tensor, similarity: Similarity) -> Tensor:
    """Return the square (1, 3, 512, 512) around a face of a frame (1, 3, H, W); its border is repeated outside."""
    # Where a pixel of the square shows several of the frame, it is the mean of four.
    finer = 2 if similarity.pixels_of_frame > 1 else 1
    places = (torch.arange(finer * SIDE, device=hr.device) + 0.5) / finer
    real, imaginary = places[None, :] - similarity.b.real, places[:, None] - similarity.b.imag
    inverse = 1 / similarity.a
    x = real * inverse.real - imaginary * inverse.imag
    y = real * inverse.imag + imaginary * inverse.real
    square = _sampled(hr, x, y, padding="border")
    return F.avg_pool2d(square, finer) if finer > 1 else square


def add_back(hr: Tensor, change: Tensor, similarity: Similarity, share: float) -> Tensor:
    """Return a frame with a share of the change of its square added to it, fading out around the face.

    What a face is changed by is warped back, not the face itself: where nothing changes, nothing is blurred.

    Args:
        hr: the frame, (1, 3, H, W), not changed itself.
        change: of the square, (1, 3, 512, 512).
        similarity: where the square lies.
        share: 0 to 1.
    """
    height, width = hr.shape[-2:]
    corners = (np.array([0, SIDE, SIDE * 1j, SIDE + SIDE * 1j]) - similarity.b) / similarity.a
    left, right = _inside(corners.real.min(), corners.real.max(), width)
    top, bottom = _inside(corners.imag.min(), corners.imag.max(), height)
    if left >= right or top >= bottom:
        return hr
    across = torch.arange(left, right, device=hr.device)[None, :] + 0.5
    down = torch.arange(top, bottom, device=hr.device)[:, None] + 0.5
    x = across * similarity.a.real - down * similarity.a.imag + similarity.b.real
    y = across * similarity.a.imag + down * similarity.a.real + similarity.b.imag
    weights = share * mask_at(x, y)
    result = hr.clone()
    result[..., top:bottom, left:right].add_(_sampled(change, x, y, padding="zeros").mul_(weights))
    return result


def mask_at(x: Tensor, y: Tensor) -> Tensor:
    """Return how much of the change counts at places of the square: 1 on the face, 0 at the square's border."""
    radius = torch.hypot((x - _MIDDLE[0]) / _AXES[0], (y - _MIDDLE[1]) / _AXES[1])
    rest = ((_FADED - radius) / (_FADED - 1)).clamp(0, 1)
    return rest * rest * (3 - 2 * rest)


def _sampled(picture: Tensor, x: Tensor, y: Tensor, *, padding: str) -> Tensor:
    """Return a picture at places, in pixels of it, by bicubic interpolation."""
    height, width = picture.shape[-2:]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)[None]
    return F.grid_sample(picture, grid.to(picture.dtype), mode="bicubic", padding_mode=padding, align_corners=False)


def _inside(low: float, high: float, length: int) -> tuple[int, int]:
    return max(0, int(np.floor(low))), min(length, int(np.ceil(high)))
