"""How the line of the slide-wipe video moves: pure arithmetic, no pictures."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

from vsr_pipeline.errors import UsageError

Interpolation = Literal["nearest", "bicubic"]

_SWEEP_SECONDS = 2  # from edge to edge
_REST_SECONDS = Fraction(1, 2)  # at each edge, while the clip plays slowly
_LEAD_SECONDS = 1  # at most, before the line starts and again before the pause
_SLOW = 2  # frames of the demo that show one frame of the clip while the line sweeps
_MOTION_SECONDS = 3  # at least, with both sides in view at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How the demo video looks and moves; `None` chooses by the clip's length, size and rate.

    Frames are counted from 0. `slide_step` and `line_width` are pixels of the output; a line of width 0 is not drawn,
    nor is an empty label.

    Raises:
        UsageError: a value that no clip allows.
    """

    interpolation: Interpolation = "bicubic"
    start_frame: int | None = None
    pause_frame: int | None = None
    repeats: int = 2
    slide_step: int | None = None
    line_width: int | None = None
    frame_rate: Fraction | None = None
    label_before: str | None = None
    label_after: str | None = None

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("start frame", self.start_frame, 0),
            ("pause frame", self.pause_frame, 0),
            ("number of repeats", self.repeats, 0),
            ("slide step", self.slide_step, 1),
            ("line width", self.line_width, 0),
        ):
            if value is not None and value < minimum:
                raise UsageError(f"the {name} is {value}: it must be at least {minimum}")
        if self.frame_rate is not None and self.frame_rate <= 0:
            raise UsageError(f"the frame rate is {self.frame_rate}: it must be above 0")
        if self.start_frame is not None and self.pause_frame is not None and self.start_frame > self.pause_frame:
            raise UsageError(f"the start frame ({self.start_frame}) comes after the pause frame ({self.pause_frame})")


class Moment(NamedTuple):
    """One frame of the demo: which frame of the clip is shown and where the line is (0 = left edge)."""

    clip_frame: int
    line_x: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choreography:
    """Every choice made: from it follow all moments of the demo. Pure; times in frames, lengths in pixels."""

    clip_frames: int
    width: int
    start_frame: int
    pause_frame: int
    repeats: int
    slide_step: int
    rest_frames: int
    motion_frames: int

    @classmethod
    def choose(cls, options: DemoOptions, *, clip_frames: int, width: int, frame_rate: Fraction) -> "Choreography":
        """Fill in what the options leave open.

        Raises:
            UsageError: the start or pause frame is not in the clip.
        """
        for name, frame in (("start", options.start_frame), ("pause", options.pause_frame)):
            if frame is not None and frame >= clip_frames:
                raise UsageError(f"{name} frame {frame} is not in the clip: it has frames 0 to {clip_frames - 1}")
        step = options.slide_step or max(1, round(width / (_SWEEP_SECONDS * frame_rate)))
        lead = math.ceil(_LEAD_SECONDS * frame_rate)
        start = options.start_frame
        if start is None:
            start = min(clip_frames // 4, lead, clip_frames if options.pause_frame is None else options.pause_frame)
        pause = options.pause_frame
        if pause is None:
            pause = max(start, min(clip_frames // 2, start + math.ceil(width / step) + lead))
        return cls(
            clip_frames=clip_frames,
            width=width,
            start_frame=start,
            pause_frame=pause,
            repeats=options.repeats,
            slide_step=step,
            rest_frames=math.ceil(_REST_SECONDS * frame_rate),
            motion_frames=math.ceil(_MOTION_SECONDS * frame_rate),
        )

    def moments(self) -> Iterator[Moment]:
        """Yield every frame of the demo in order; the clip's frames run from first to last, again and again."""
        line_x = self.width
        for index in range(self.pause_frame + 1):
            if index >= self.start_frame:
                line_x = self._towards(line_x, 0)
            yield Moment(index, line_x)
        shown = self.pause_frame
        for count, place in enumerate(self._sweeps(line_x), 1):
            line_x = place
            shown = (self.pause_frame + count // _SLOW) % self.clip_frames
            yield Moment(shown, line_x)
        left = self.clip_frames - shown - 1
        replays = math.ceil(max(0, self.motion_frames - left) / self.clip_frames)
        for number in range(left + replays * self.clip_frames):
            line_x = self._towards(line_x, self.width // 2)
            yield Moment((shown + 1 + number) % self.clip_frames, line_x)

    def _sweeps(self, line_x: int) -> Iterator[int]:
        """Yield where the line is while it goes from edge to edge."""
        for edge in (0, self.width) * self.repeats:
            while line_x != edge:
                line_x = self._towards(line_x, edge)
                yield line_x
            for _ in range(self.rest_frames):
                yield line_x

    def _towards(self, line_x: int, target: int) -> int:
        return line_x + max(-self.slide_step, min(self.slide_step, target - line_x))
