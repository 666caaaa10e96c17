"""What comes with a decoded frame: how to turn it, and which display it was made on."""

from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from vsr_pipeline.timeline import HdrMetadata


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """(clockwise degrees, mirrored) that turn a frame upright, from its display matrix, to the nearest right angle.

    The matrix sends a pixel at (x, y), y pointing down, to (a x + c y, b x + d y).
    """
    matrix = _numbers(frame, "DISPLAYMATRIX")
    if len(matrix) != 9:  # it may also be hidden, but for the angle; see `_numbers`
        return -round(frame.rotation / 90) * 90 % 360, False
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        mirrored = (a < 0) != (d < 0)
        return (180 if d < 0 else 0), mirrored
    mirrored = (b < 0) == (c < 0)
    return (90 if b > 0 else 270), mirrored


def hdr_metadata(frame: VideoFrame) -> HdrMetadata | None:
    """Mastering display and content light level of a frame; None where it has neither."""
    primaries = white_point = darkest = brightest = None
    display = _numbers(frame, "MASTERING_DISPLAY_METADATA")
    if len(display) == _DISPLAY_NUMBERS:
        *fractions, has_primaries, has_luminance = display
        red, green, blue, white = ((_fraction(fractions, 4 * n), _fraction(fractions, 4 * n + 2)) for n in range(4))
        if has_primaries:
            primaries, white_point = (red, green, blue), white
        if has_luminance:
            darkest, brightest = _fraction(fractions, 16), _fraction(fractions, 18)
    light = _numbers(frame, "CONTENT_LIGHT_LEVEL")
    max_cll, max_fall = light if len(light) == 2 else (0, 0)
    known = HdrMetadata(primaries, white_point, darkest, brightest, max_cll or None, max_fall or None)
    return None if known == HdrMetadata() else known


# AVMasteringDisplayMetadata: ten fractions and two flags. AVContentLightMetadata: two numbers.
_DISPLAY_NUMBERS = 22


def _fraction(numbers: list[int], index: int) -> Fraction:
    return Fraction(numbers[index], numbers[index + 1] or 1)


def _numbers(frame: VideoFrame, kind: str) -> list[int]:
    """The 32-bit numbers that the side data of this kind is made of; none where there is none.

    PyAV does not know some kinds of side data; a frame that has one of them gives none at all.
    """
    try:
        data = cast("SideData | None", frame.side_data.get(kind))
    except ValueError:
        return []
    return [] if data is None else np.frombuffer(memoryview(data), dtype=np.int32).tolist()
