"""When the frames of a clip are shown: their timestamps without the jumps of the file's clock, and in showing order."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from av.video.frame import VideoFrame

from vsr_pipeline.media.read.clock import stated_pts
from vsr_pipeline.media.read.jumps import AHEAD_SECONDS, BACK_SECONDS, JumpFinder, PictureJump
from vsr_pipeline.timeline import ClockPart

_NAMED_JUMPS = 3
_WRAP_SECONDS = Fraction(2**33, 90_000)
"""The clock of MPEG's streams begins again after this time."""


@dataclass(frozen=True, slots=True)
class ShownTimes:
    """When each frame is shown, in ticks, and what became of the file's clock for that."""

    pts: tuple[int, ...]
    clock_parts: tuple[ClockPart, ...] = ()
    notes: tuple[str, ...] = ()


class FrameTimes:
    """Takes the timestamps of frames, in showing order, as the decoder's clock gives them (`Clock`).

    Args:
        time_base: seconds per tick.
        jumps: is fed with the packets of the same pass.
    """

    def __init__(self, time_base: Fraction, jumps: JumpFinder) -> None:
        self.coded: list[int] = []
        """What the clock gave."""
        self._time_base = time_base
        self._finder = jumps
        self._stated: list[int | None] = []
        self._jumps: list[PictureJump] = []
        self._steps: dict[int, int] = {}
        """By the frame at which a jump is: how long the frame before it is shown."""
        self._due = 0
        self._moved = 0
        """By how much the clock moves the frames since the last time that it was reset."""
        self._ahead = 0
        """How long the jumps ahead were, all together."""
        self.is_out_of_order = False
        """Whether a frame was stated to be shown before the one before it, and no jump is between them."""

    def add(self, coded: int, frame: VideoFrame) -> int:
        """Take the next frame; return about when it is shown: later than that, if anything."""
        stated = stated_pts(frame, self._time_base)
        due = self._due
        if stated is not None and self.coded:
            is_reset = coded - stated - self._moved > BACK_SECONDS / self._time_base + 1
            is_ahead = self._finder.may_jump_ahead and coded - due > AHEAD_SECONDS / self._time_base
            if is_reset or is_ahead:
                self._jumps.append(PictureJump(len(self.coded), due - self._moved, stated))
                self._steps[len(self.coded)] = due - self.coded[-1]
                self._ahead += coded - due if is_ahead else 0
            elif self._stated[-1] is not None:
                self.is_out_of_order |= stated < self._stated[-1]
            if is_reset:
                self._moved = coded - stated
        elif stated is not None:
            self._moved = coded - stated
        step = coded - self.coded[-1] if self.coded else 1
        self._due = coded + (frame.duration if frame.duration > 0 else step)
        self.coded.append(coded)
        self._stated.append(stated)
        return coded - self._ahead

    def shown(self, picture: int) -> ShownTimes:
        """Return when the frames are shown; `picture` is the index of their stream."""
        jumps = {jump.index: (jump, position, wait) for jump, position, wait in self._clock_jumps(picture)}
        starts = [0, *self._steps, len(self.coded)]
        pts: list[int] = []
        parts: list[ClockPart] = []
        named: list[str] = []
        correction = 0
        for start, stop in pairwise(starts):
            if start in jumps:
                jump, position, wait = jumps[start]
                due = pts[-1] + self._steps[start]
                correction = due + round(wait / self._time_base) - self.coded[start]
                parts.append(ClockPart(position, (self.coded[start] + correction - jump.begin) * self._time_base))
                seconds = (jump.begin - jump.end) * self._time_base
                if seconds > _WRAP_SECONDS / 2:
                    seconds -= _WRAP_SECONDS  # a step back is read as the clock's passing its last number
                named.append(f"{float(seconds):+.1f} s at {float((due - pts[0]) * self._time_base):.2f} s")
            pts += self._in_order(start, stop, correction)
        return ShownTimes(tuple(pts), tuple(parts), tuple(self._notes(named)))

    def _clock_jumps(self, picture: int) -> Iterator[tuple[PictureJump, int, Fraction]]:
        return self._finder.parts(self._jumps, picture, self._time_base)

    def _in_order(self, start: int, stop: int, correction: int) -> list[int]:
        """Return the times of the frames `[start, stop)`, between which no jump is, in rising order.

        Where some are stated to be shown before the one before them, the times are those of decoding: the same set of
        times is right, the earliest first.
        """
        coded = self.coded[start:stop]
        stated = [time for time in self._stated[start:stop] if time is not None]
        if len(stated) == len(coded) and any(a > b for a, b in pairwise(stated)):
            # After a jump, the earliest one follows the frame before it.
            moved = coded[0] - (min(stated) if start else stated[0])
            coded = [time + moved for time in sorted(stated)]
            for index in range(1, len(coded)):
                coded[index] = max(coded[index], coded[index - 1] + 1)
        return [time + correction for time in coded]

    def _notes(self, named: list[str]) -> Iterator[str]:
        if named:
            times = "once" if len(named) == 1 else f"{len(named)} times"
            which = ", ".join(named[:_NAMED_JUMPS]) + (", ..." if len(named) > _NAMED_JUMPS else "")
            yield (
                f"the file's clock jumps {times} ({which}): picture, sound and subtitles go on there without a gap, "
                "all moved by the same"
            )
        yield from dict.fromkeys(self._finder.changes)
        if self.is_out_of_order:
            yield "frames have the times of decoding, not of showing: the same times are given to them in showing order"
