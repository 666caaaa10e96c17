"""Which frames are enhanced, and when each is shown: pure, so all cases can be tried."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsr_pipeline.config import InputConfig
from vsr_pipeline.config_text import seconds_from
from vsr_pipeline.errors import UsageError
from vsr_pipeline.plan import even_ticks, part_of, schedule_of
from vsr_pipeline.timeline import Segment, Shot, Timeline

TEN = Timeline(Fraction(1, 1000), tuple(range(0, 1000, 100)), 100, cuts=(4, 7))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", Fraction(90)),
        ("90.5", Fraction(181, 2)),
        ("1:30.1", Fraction(901, 10)),
        ("00:01:30", Fraction(90)),
        ("100:00:00", Fraction(360_000)),
        (".04", Fraction(1, 25)),
    ],
)
def test_times(text, seconds):
    assert seconds_from(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:60", "1:2:3:4", "1e3", "1/3", "90s", "1:99:00", "nan"])
def test_no_times(text):
    with pytest.raises(ValueError, match=r"such as 90\.5"):
        seconds_from(text)


@pytest.mark.parametrize(
    ("settings", "frames", "cuts"),
    [
        ({}, (0, 10), (4, 7)),
        ({"start": "0.3"}, (3, 10), (1, 4)),
        ({"start": "0.301"}, (4, 10), (3,)),
        ({"end": "0.7"}, (0, 7), (4,)),
        ({"start": "0.4", "end": "0.45"}, (4, 5), ()),
        ({"start": "0.2", "max_frames": 3}, (2, 5), (2,)),
        ({"max_frames": 99}, (0, 10), (4, 7)),
        ({"end": "1:00:00"}, (0, 10), (4, 7)),
    ],
)
def test_parts(settings, frames, cuts):
    part = part_of(TEN, InputConfig(**settings), start_seconds=Fraction(0))
    assert (part.first, part.stop) == frames
    assert part.timeline.cuts == cuts
    assert part.timeline.pts == TEN.pts[slice(*frames)]
    assert part.timeline.last_duration == 100


def test_a_part_counts_from_where_a_player_does():
    recorded = Timeline(TEN.time_base, tuple(tick + 90_000 for tick in TEN.pts), 100)
    part = part_of(recorded, InputConfig(start="0.5"), start_seconds=Fraction(90))
    assert (part.first, part.stop) == (5, 10)


def test_an_empty_part_says_how_long_the_clip_is():
    with pytest.raises(UsageError, match=r"--start 5 .*ends at 1\.000 s"):
        part_of(TEN, InputConfig(start="5"), start_seconds=Fraction(0))


def test_without_a_rate_every_frame_has_its_own_time():
    schedule = schedule_of(TEN, origin_ticks=-50)
    assert schedule.times == [Fraction(k, 10) + Fraction(1, 20) for k in range(10)]
    assert schedule.frames == tuple(range(10))
    assert schedule.duration(9) == 100


def test_twice_and_half_the_rate():
    double = schedule_of(TEN, origin_ticks=0, frame_rate=Fraction(20))
    assert double.frames == tuple(k // 2 for k in range(20))
    assert double.times == [Fraction(k, 20) for k in range(20)]
    assert double.repeated == 10
    half = schedule_of(TEN, origin_ticks=0, frame_rate=Fraction(5))
    assert half.frames == (1, 3, 5, 7, 9)
    alone = Segment(2, 3, 2, 3, Shot(0, 10))
    assert not half.shows(alone)


def test_rounded_timestamps_repeat_nothing():
    """29.97 frames per second, in milliseconds: what Matroska makes of them."""
    pts = tuple(round(k * 1001 / 30) for k in range(3000))
    schedule = schedule_of(Timeline(Fraction(1, 1000), pts, 33), origin_ticks=0, frame_rate=Fraction(30000, 1001))
    assert schedule.frames == tuple(range(3000))


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    first=st.integers(-1000, 10**9),
    rate=st.fractions(min_value=1, max_value=120, max_denominator=1001),
)
def test_a_constant_rate_keeps_step_with_the_source(steps, first, rate):
    pts = [first]
    for step in steps[:-1]:
        pts.append(pts[-1] + step)
    timeline = Timeline(Fraction(1, 1000), tuple(pts), steps[-1])
    schedule = schedule_of(timeline, origin_ticks=min(0, first), frame_rate=rate)
    times = schedule.times
    assert times == [times[0] + k / rate for k in range(len(times))]
    assert abs(times[0] - (first - min(0, first)) * timeline.time_base) <= 1 / rate / 1000
    assert abs(len(times) / rate - timeline.duration_seconds) <= 1 / rate
    assert list(schedule.frames) == sorted(schedule.frames)
    shown_until = [*pts[1:], pts[-1] + steps[-1]]
    for k, frame in enumerate(schedule.frames):
        middle = first * timeline.time_base + (k + Fraction(1, 2)) / rate
        assert pts[frame] * timeline.time_base <= middle
        assert middle <= shown_until[frame] * timeline.time_base or frame == len(pts) - 1


def test_ticks_stay_inside_what_files_can_count():
    tick, ticks = even_ticks(Fraction(12_345_678_901, 10**10), Fraction(997, 10**6), 3)
    assert tick.denominator < 2**31
    assert (ticks[2] - ticks[1]) * tick == Fraction(997, 10**6)
