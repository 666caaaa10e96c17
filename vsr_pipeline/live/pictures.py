"""From a decoded frame to what the model sees, and from what it gives to the views that are shown."""

from dataclasses import replace

import cv2
import numpy as np

from vsr_pipeline.clip.geometry import Size
from vsr_pipeline.live.frames import Captured
from vsr_pipeline.live.options import View
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.read.pixels import RgbConverter
from vsr_pipeline.timeline import VideoInfo

_GREY_SHARE = 0.5


class Converters:
    """Makes upright RGB of 8 bits, in any size, of the frames of one source.

    Args:
        info: the source.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._info = replace(info, bit_depth=8)
        self._known: dict[Size, RgbConverter] = {}

    def __call__(self, captured: Captured, size: Size) -> Pixels:
        """Return (H, W, 3), uint8, of the size (width, height).

        Raises:
            InputError: the pixel format cannot be converted.
        """
        if size not in self._known:
            turned = size if self._info.display_size == (self._info.width, self._info.height) else size[::-1]
            info = replace(self._info, width=turned[0], height=turned[1])
            self._known[size] = RgbConverter(info, [])
        return self._known[size](captured.picture)


def resized(pixels: Pixels, size: Size) -> Pixels:
    """Scale to (width, height): bicubic, averaged where it shrinks."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    method = cv2.INTER_AREA if size[0] < width else cv2.INTER_CUBIC
    scaled: Pixels = cv2.resize(pixels, size, interpolation=method)  # type: ignore[assignment]
    return scaled


def views_of(
    names: tuple[View, ...], *, original: Pixels | None, lq: Pixels, hr: Pixels, size: Size
) -> tuple[Pixels, ...]:
    """Return the views of a frame, all of one size, the model's last.

    Args:
        names: of the views beside the model's.
        original: as captured; needed where that is a view.
        lq: what the model saw.
        hr: what it made of it.
        size: (width, height) of all.
    """
    made = {"original": original, "bicubic": lq}
    beside = (made[name] for name in names)
    return (*(resized(view, size) for view in beside if view is not None), resized(hr, size))


def greyed(pixels: Pixels) -> Pixels:
    """Return a picture without colour and half as bright."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dimmed: Pixels = cv2.cvtColor((grey * np.float32(_GREY_SHARE)).astype(np.uint8), cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    return dimmed
