"""The pictures of a report: one frame before and after."""

from fractions import Fraction
from pathlib import Path

import cv2

from vsr_pipeline.media.images import Pixels
from vsr_pipeline.runtime.files import published

_STILL_WIDTH = 960


def save_stills(folder: Path, before: Pixels, after: Pixels, *, pixel_aspect_ratio: Fraction = Fraction(1)) -> None:
    """Write `before.jpg` and `after.jpg` for the report, with square pixels; the latter at most 960 pixels wide.

    Args:
        folder: where they go.
        before: the frame that went into the model.
        after: the same frame, enhanced.
        pixel_aspect_ratio: width / height of a pixel of both; the smaller side of a pixel is stretched.
    """
    stretch_x, stretch_y = max(pixel_aspect_ratio, Fraction(1)), max(1 / pixel_aspect_ratio, Fraction(1))
    scale = min(Fraction(1), _STILL_WIDTH / (after.shape[1] * stretch_x))
    for name, pixels, factor in (("before.jpg", before, Fraction(1)), ("after.jpg", after, scale)):
        eight_bit = cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.itemsize == 2 else pixels
        width, height = (
            max(1, round(pixels.shape[1] * stretch_x * factor)),
            max(1, round(pixels.shape[0] * stretch_y * factor)),
        )
        smaller = width < pixels.shape[1] or height < pixels.shape[0]
        small = cv2.resize(eight_bit, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        with published(folder / name) as temporary:
            temporary.write_bytes(encoded.data)
