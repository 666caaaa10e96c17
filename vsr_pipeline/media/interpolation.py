"""Enlarging without a network: what others compare networks with. All of it is OpenCV's, which also is quick."""

from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[Any]
"""(H, W, C): uint8, uint16 or float32."""

Method = Literal["nearest", "bilinear", "bicubic", "lanczos", "classical"]
METHODS: tuple[Method, ...] = get_args(Method)

_OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}

_SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)
_BLUR_SIZE = (5, 5)


def interpolate(picture_HWC: Picture, size: tuple[int, int], method: Method) -> Picture:
    """Change the size of a picture as OpenCV does, in the type that it has.

    Only the pixels next to each sample are taken (one, 2x2, 4x4, or 8x8 for Lanczos), so shrinking aliases.
    "classical" is the usual chain without learning: sharpen by a Laplacian, smooth by a 5x5 Gaussian (1 4 6 4 1),
    enlarge bicubically.

    Args:
        picture_HWC: integers, or float32 (which is not clipped).
        size: height and width of the result, at least 1 each.
        method: see above.

    Returns:
        (height, width, C).
    """
    if method == "classical":
        sharpened = cv2.filter2D(picture_HWC, -1, _SHARPEN)
        return interpolate(cv2.GaussianBlur(sharpened, _BLUR_SIZE, 0), size, "bicubic").reshape(*size, -1)
    resized: Picture = cv2.resize(picture_HWC, (size[1], size[0]), interpolation=_OPENCV[method])
    return resized.reshape(*size, -1)  # OpenCV drops the axis of a single channel
