"""How much of a clip is not there: what its header announces and the decoder did not give."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import av.error

from vsr_pipeline.media.contents import Contents
from vsr_pipeline.media.input import open_input
from vsr_pipeline.timeline import Timeline, VideoInfo

_MICROSECONDS = 1_000_000
_ROUNDING = Fraction(1, 10)
"""Seconds by which announced durations may be off in a file that is whole."""


def missing_seconds(info: VideoInfo, contents: Contents, timeline: Timeline, hidden_frames: int = 0) -> Fraction:
    """Seconds of picture that are announced and missing; 0 where nothing is announced.

    A stream that announces frames misses those that did not come, as far as there are holes in time for them: edit
    lists hide frames, and some containers count fields. One that announces a time misses its end. Where only the whole
    file announces one, the picture may end before the sound does; then the file's own end is what is missing.
    """
    if timeline.clock_parts:
        return Fraction(0)  # what is announced is a difference of times of two clocks
    announced = contents.stream(info.stream_index).duration_seconds
    if announced is None and contents.duration_seconds:
        announced = contents.duration_seconds
        if announced - timeline.duration_seconds > _ROUNDING:
            return _whole_or_nothing(announced - _end_of_packets(info.path))
        return Fraction(0)
    lacking = (announced or Fraction(0)) - timeline.duration_seconds
    if info.frame_count_from_header is None or timeline.frame_count < 2:
        return _whole_or_nothing(lacking)
    steps = [b - a for a, b in pairwise(timeline.pts)]
    usual = median_low(steps)
    holes = sum(step - usual for step in steps if 2 * step > 3 * usual)
    lost_frames = info.frame_count_from_header - hidden_frames - timeline.frame_count
    seconds = min(lost_frames * usual * timeline.time_base, lacking + holes * timeline.time_base)
    return seconds if 2 * seconds > usual * timeline.time_base else Fraction(0)


def _whole_or_nothing(seconds: Fraction) -> Fraction:
    return seconds if seconds > _ROUNDING else Fraction(0)


def _end_of_packets(path: Path) -> Fraction:
    """When the last packet of all streams ends, in seconds of what the container counts as its duration."""
    end = Fraction(0)
    with open_input(path) as container:
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        except (av.error.FFmpegError, KeyError, IndexError):
            pass  # a stream that appears on the way, which PyAV does not expect, or the place where the file is broken
        counts_from_zero = "matroska" in container.format.name
        return end if counts_from_zero else end - Fraction(container.start_time or 0, _MICROSECONDS)
