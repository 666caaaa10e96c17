"""A place in a file that is being decoded, so that what is read next can go on from there."""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

from av.video.frame import VideoFrame

_RECENT_BYTES = 32 << 20
_RECENT_FRAMES = (2, 64)
"""How much of the latest frames is kept for the next part, which may overlap: at least and at most so many of them."""


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame, as coded, with its repaired timestamp in ticks of the stream."""

    pts: int
    picture: VideoFrame


class Cursor:
    """A place in a file that is being decoded, and the frames that were decoded last.

    Args:
        frames: the frames from `index` on.
        index: number of the first of them.
        from_start: whether decoding began at the start of the file, so that every frame can be trusted.
    """

    def __init__(self, frames: Generator[TimedFrame], index: int, *, from_start: bool) -> None:
        self.from_start = from_start
        self._frames = frames
        self._next = index
        self._recent: deque[TimedFrame] = deque()
        self._recent_bytes = 0

    def distance_to(self, index: int) -> int | None:
        """Return how many frames have to be decoded to reach frame `index`; None: it lies before what is kept."""
        if index < self._next - len(self._recent):
            return None
        return max(0, index + 1 - self._next)

    def frame(self, index: int) -> TimedFrame | None:
        """Return a frame that can be reached; None: the file ends before it.

        Raises:
            Exception: whatever `frames` raises.
        """
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._next += 1
            self._recent.append(frame)
            self._recent_bytes += _bytes_of(frame)
            fewest, most = _RECENT_FRAMES
            while len(self._recent) > most or (len(self._recent) > fewest and self._recent_bytes > _RECENT_BYTES):
                self._recent_bytes -= _bytes_of(self._recent.popleft())
        return self._recent[index - self._next]

    def close(self) -> None:
        """Close the file."""
        self._frames.close()
        self._recent.clear()


def _bytes_of(frame: TimedFrame) -> int:
    return sum(plane.buffer_size for plane in frame.picture.planes)
