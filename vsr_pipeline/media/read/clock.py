"""Timestamps of frames, made strictly increasing."""

from fractions import Fraction

from av.video.frame import VideoFrame

_CENTURY_SECONDS = 2**32
"""Cameras that count seconds since 1970 stay below."""


def stated_pts(frame: VideoFrame, time_base: Fraction) -> int | None:
    """Timestamp that a decoded frame has: of presentation, else of decoding; None where it has none that can be."""
    raw = frame.pts if frame.pts is not None else frame.dts
    return None if raw is None or abs(raw) > min(2**61, int(_CENTURY_SECONDS / time_base)) else raw


class Clock:
    """Makes timestamps strictly increasing.

    - A frame without a presentation timestamp takes the decoding timestamp that came with it, as ffmpeg does. Without
      either it comes one step (the previous frame's duration, else the previous step, else the average one) after the
      previous frame; the first one at 0.
    - One that repeats or goes back by up to a second: one tick after the previous frame; the next ones keep theirs.
    - One that goes back by more: the clock was reset there. That frame comes one step after the previous one, and all
      following ones are shifted with it.
    - One that is more than a century away from zero is none.
    """

    def __init__(self, *, time_base: Fraction, average_step: int) -> None:
        self._second = max(1, int(1 / time_base))
        self._time_base = time_base
        self._step = average_step
        self._previous: int | None = None
        self._previous_duration = 0
        self._shift = 0

    def __call__(self, frame: VideoFrame) -> int:
        """Timestamp of the next frame."""
        pts = self._next(stated_pts(frame, self._time_base))
        if self._previous is not None:
            self._step = pts - self._previous
        self._previous, self._previous_duration = pts, frame.duration
        return pts

    def _next(self, raw: int | None) -> int:
        if self._previous is None:
            return raw or 0
        following = self._previous + (self._previous_duration if self._previous_duration > 0 else self._step)
        if raw is None:
            return following
        if raw + self._shift > self._previous:
            return raw + self._shift
        if self._previous - (raw + self._shift) <= self._second:
            return self._previous + 1
        self._shift = following - raw
        return following
