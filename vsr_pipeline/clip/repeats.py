"""Frames that are equal to the one before them: animation, telecine, screens, a picture that was paused."""

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

Rows = npt.NDArray[np.uint8]

_EVERY = 61
"""One of so many rows is compared first: frames that differ mostly do so there, too."""


class RepeatFinder:
    """Compares each frame, as coded, with the one before it, which is all that it keeps."""

    def __init__(self) -> None:
        self._previous: VideoFrame | None = None
        self._fed = 0
        self.repeats: list[int] = []
        """Indices of the frames that were equal to the one before them."""

    def feed(self, frame: VideoFrame) -> None:
        """Look at the next frame."""
        if self._previous is not None and is_same_picture(frame, self._previous):
            self.repeats.append(self._fed)
        self._previous = frame
        self._fed += 1


def is_same_picture(one: VideoFrame, other: VideoFrame) -> bool:
    """Whether two frames have the same values in every pixel, and these mean the same.

    A frame in an unusual layout may be called different although it is not; never the other way round.
    """
    if _kind(one) != _kind(other):
        return False
    pairs = [(_rows(one, index), _rows(other, index)) for index in range(len(one.planes))]
    return all(_are_equal(a, b, step) for step in (_EVERY, 1) for a, b in pairs)


def _kind(frame: VideoFrame) -> tuple[object, ...]:
    return frame.format.name, len(frame.planes), frame.width, frame.height, frame.colorspace, frame.color_range


def _are_equal(one: Rows | None, other: Rows | None, step: int) -> bool:
    return one is not None and other is not None and np.array_equal(one[::step], other[::step])


def _rows(frame: VideoFrame, index: int) -> Rows | None:
    """(rows, bytes) of what is visible of a plane; None where its rows lie in memory from the last to the first."""
    plane = frame.planes[index]
    if plane.line_size < 0:
        return None
    values = np.frombuffer(memoryview(plane), np.uint8)
    if plane.line_size == 0:
        return values[None]  # a palette
    return values.reshape(plane.height, plane.line_size)[:, : _row_bytes(frame, index)]


def _row_bytes(frame: VideoFrame, index: int) -> int:
    """Bytes of a plane's row, without what memory holds behind it, which nobody has set; in doubt, more."""
    layout, plane = frame.format, frame.planes[index]
    if layout.is_planar:
        count = sum(part.width * -(-part.bits // 8) for part in layout.components if part.plane == index)
    else:
        shares_chroma = any(part.width < plane.width for part in layout.components)
        pixels = plane.width + (-plane.width % 4 if shares_chroma else 0)  # whole groups
        count = -(-pixels * layout.padded_bits_per_pixel // 8)
    return min(plane.line_size, count or plane.line_size)
