"""From a timeline to the part that is enhanced, its segments and windows, and when each frame is shown.

Pure functions: the same clip always gives the same plan. Frames that repeat the one before them are not computed:
segments and windows count the distinct frames alone, and the schedule says when each of them is shown, repeatedly.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import ceil, floor, gcd, lcm
from typing import TypeVar

from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.timeline import Segment, Shot, Timeline, Window

T = TypeVar("T")

# Units per second of a file's clock: mp4 counts them in 32 bits.
_FINEST = 2**31 - 1


def plan_segments(
    timeline: Timeline, *, segment_frames: int, warm_up: int, lookahead: int, follow_shots: bool = True
) -> tuple[Segment, ...]:
    """Cut a clip into segments: every distinct frame is in exactly one, none crosses a scene cut.

    Args:
        timeline: the clip.
        segment_frames: longest segment. A longer shot is cut into parts of nearly equal length.
        warm_up: context frames before a segment that starts inside a shot.
        lookahead: context frames after a segment that ends inside a shot.
        follow_shots: False takes the whole clip as one shot and cuts every `segment_frames` exactly, for
            `--windows official`, whose windows must start at multiples of their length.
    """
    clip = timeline.without_repeats
    shots = clip.shots if follow_shots else (Shot(0, clip.frame_count),)
    segments = []
    for shot in shots:
        count = -(-len(shot) // segment_frames)
        for k in range(count):
            if follow_shots:
                start, stop = (shot.start + len(shot) * i // count for i in (k, k + 1))
            else:
                start, stop = (min(i * segment_frames, shot.stop) for i in (k, k + 1))
            segments.append(
                Segment(
                    start=start,
                    stop=stop,
                    context_start=max(shot.start, start - warm_up),
                    context_stop=min(shot.stop, stop + lookahead),
                    shot=shot,
                )
            )
    return tuple(segments)


def plan_windows(segment: Segment, *, max_seq_len: int, lookahead: int) -> tuple[Window, ...]:
    """Cut a segment into windows of at most `max_seq_len` frames, each with its lookahead inside the context."""
    windows = []
    for start in range(segment.start, segment.stop, max_seq_len):
        stop = min(start + max_seq_len, segment.stop)
        windows.append(Window(start, stop, lookahead_stop=min(stop + lookahead, segment.context_stop)))
    return tuple(windows)


def count_backward_steps(segment: Segment, *, max_seq_len: int, lookahead: int) -> int:
    """Return how many frames all windows of a segment have, each with its lookahead, in no time however many."""
    windows = -(-len(segment) // max_seq_len)
    # How far each window's end lies before the end of the context: all have a whole lookahead but for the last few.
    whole = min(windows, max(0, (segment.context_stop - lookahead - segment.start) // max_seq_len))
    last = (min(segment.start + (k + 1) * max_seq_len, segment.stop) for k in range(whole, windows))
    return len(segment) + whole * lookahead + sum(min(lookahead, segment.context_stop - stop) for stop in last)


def plan_parts(segment: Segment, schedule: "Schedule", every: int) -> tuple[range, ...]:
    """Cut a segment into parts of `every` frames, of which each shows something: a file needs a frame.

    The parts depend on nothing else: a run that was killed cuts where one that was not does.
    """
    parts: list[range] = []
    for start in range(segment.start, segment.stop, every):
        part = range(start, min(start + every, segment.stop))
        if parts and not (schedule.shows(part) and schedule.shows(parts[-1])):
            part = range(parts.pop().start, part.stop)
        parts.append(part)
    return tuple(parts)


def rest_of(segment: Segment, start: int, read_at_once: int) -> Segment:
    """Return what is left of a segment from frame `start` on, whose state is known.

    Args:
        segment: all of it.
        start: where it goes on.
        read_at_once: frames are read in steps of so many, counted from the segment's context; the step before that of
            `start` is read again, because a frame needs the one before it and a step may need to be whole. 0: no frame
            is.
    """
    if not read_at_once:
        return replace(segment, start=start, context_start=start)
    step = (start - segment.context_start) // read_at_once
    first = segment.context_start + max(0, step - 1) * read_at_once
    return replace(segment, start=start, context_start=first)


def sample_indices(shot: Shot, count: int) -> tuple[int, ...]:
    """Return at most `count` different frame indices, evenly spread over a shot."""
    count = min(count, len(shot))
    return tuple(shot.start + (2 * k + 1) * len(shot) // (2 * count) for k in range(count))


def take(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield exactly `count` items.

    Raises:
        InputError: there are fewer.
    """
    taken = 0
    for item in islice(items, count):
        taken += 1
        yield item
    if taken < count:
        raise InputError(f"the input ended {count - taken} frames before its timeline says: was it changed meanwhile?")


def repeats_note(timeline: Timeline) -> tuple[str, ...]:
    """Say what need not be computed of a clip, if anything."""
    if not timeline.repeats:
        return ()
    count = f"{len(timeline.repeats)} of {timeline.frame_count}"
    return (f"frames that are equal to the one before them, and not computed again: {count}",)


@dataclass(frozen=True, slots=True)
class Part:
    """The frames `[first, first + timeline.frame_count)` of a file: what is enhanced, a clip of its own."""

    first: int
    timeline: Timeline

    @property
    def stop(self) -> int:
        """The frame of the file after the last one."""
        return self.first + self.timeline.frame_count


def part_of(timeline: Timeline, settings: InputConfig, *, start_seconds: Fraction) -> Part:
    """Choose the frames that the settings ask for: shown at or after `start`, and before `end`.

    Args:
        timeline: the file, at least up to the end of the part.
        settings: the times count from where a player starts to count.
        start_seconds: that point on the timeline's clock.

    Raises:
        UsageError: no frame is shown in that time.
    """

    def frame_at(seconds: Fraction) -> int:
        return bisect_left(timeline.pts, ceil((start_seconds + seconds) / timeline.time_base))

    first = frame_at(settings.start_seconds) if settings.start_seconds is not None else 0
    stop = frame_at(settings.end_seconds) if settings.end_seconds is not None else timeline.frame_count
    if settings.max_frames is not None:
        stop = min(stop, first + settings.max_frames)
    if first >= stop:
        is_behind = first >= timeline.frame_count
        tick = timeline.pts[-1] + timeline.last_duration if is_behind else timeline.pts[first]
        known = "the picture ends" if is_behind else "the next frame is shown"
        raise UsageError(
            f"no frame is shown from --start {settings.start or 0} to --end {settings.end or 'the end'}: "
            f"{known} at {float(tick * timeline.time_base - start_seconds):.3f} s"
        )
    is_end = stop == timeline.frame_count
    cuts = tuple(cut - first for cut in timeline.cuts if first < cut < stop)
    first_shot = bisect_right(timeline.cuts, first)
    part = Timeline(
        time_base=timeline.time_base,
        pts=timeline.pts[first:stop],
        last_duration=timeline.last_duration if is_end else timeline.pts[stop] - timeline.pts[stop - 1],
        cuts=cuts,
        deinterlace=timeline.deinterlace,
        # The first frame repeats nothing that is there.
        repeats=tuple(index - first for index in timeline.repeats if first < index < stop),
        tints=timeline.tints[first_shot : first_shot + len(cuts) + 1],
    )
    return Part(first, part)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the output shows what: its frame `i` appears at tick `pts[i]` and is the clip's distinct frame `frames[i]`.

    `pts` start at the output's own zero. Both increase; a frame may be shown repeatedly, or never.
    """

    time_base: Fraction
    pts: tuple[int, ...]
    last_duration: int
    frames: tuple[int, ...]

    @property
    def times(self) -> list[Fraction]:
        """When each frame of the output appears, in seconds."""
        return [tick * self.time_base for tick in self.pts]

    @property
    def end(self) -> Fraction:
        """When the last frame is no longer shown, in seconds."""
        return (self.pts[-1] + self.last_duration) * self.time_base

    @property
    def repeated(self) -> int:
        """How many frames of the output show what the frame before them shows."""
        return len(self.frames) - len(set(self.frames))

    def shows(self, part: Segment | range) -> range:
        """The output's frames that show frames of a segment, or of a part of one."""
        return range(bisect_left(self.frames, part.start), bisect_left(self.frames, part.stop))

    def times_of(self, part: Segment | range) -> list[Fraction]:
        """When each of these frames of the output appears, in seconds."""
        return [self.pts[place] * self.time_base for place in self.shows(part)]

    def duration(self, index: int) -> int:
        """How many ticks a frame of the output is shown."""
        return self.pts[index + 1] - self.pts[index] if index + 1 < len(self.pts) else self.last_duration


def schedule_of(timeline: Timeline, *, origin_ticks: int, frame_rate: Fraction | None = None) -> Schedule:
    """Say when the frames of a clip are shown.

    Args:
        timeline: the clip.
        origin_ticks: its tick that is the output's zero.
        frame_rate: None: each frame at its own time. Else a constant rate that starts with the first frame; each frame
            of the output shows what the source shows in the middle of its time, so that timestamps that were rounded
            or tremble do not repeat one frame and skip the next.
    """
    pts = tuple(tick - origin_ticks for tick in timeline.pts)
    distinct = timeline.distinct
    if frame_rate is None:
        computed = tuple(bisect_right(distinct, index) - 1 for index in range(len(pts)))
        return Schedule(timeline.time_base, pts, timeline.last_duration, computed)
    step = 1 / frame_rate
    count = max(1, round(timeline.duration_seconds / step))
    middles = (floor(timeline.pts[0] + (k + Fraction(1, 2)) * step / timeline.time_base) for k in range(count))
    shown = tuple(bisect_right(distinct, bisect_right(timeline.pts, middle) - 1) - 1 for middle in middles)
    tick, ticks = even_ticks(pts[0] * timeline.time_base, step, count)
    return Schedule(tick, ticks, ticks[-1] - ticks[-2] if count > 1 else max(1, round(step / tick)), shown)


def even_ticks(start_seconds: Fraction, step_seconds: Fraction, count: int) -> tuple[Fraction, tuple[int, ...]]:
    """Return a time base, and `count` ticks of it that are exactly `step_seconds` apart.

    The first is at `start_seconds`, to within a thousandth of the step where no time base holds both exactly.
    """
    if lcm(start_seconds.denominator, step_seconds.denominator) > _FINEST:
        start_seconds = round(start_seconds / step_seconds * 1000) * step_seconds / 1000
    common = lcm(start_seconds.denominator, step_seconds.denominator)
    tick = Fraction(gcd(int(start_seconds * common), int(step_seconds * common)), common)
    return tick, tuple(int((start_seconds + k * step_seconds) / tick) for k in range(count))
