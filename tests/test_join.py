"""Segments become one track: every frame, at its exact time, without encoding anything again."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tests.support.clips import decoded
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.streams.join import check_frames, join_segments
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.timeline import Colour

TIME_BASE = Fraction(1, 90000)
# Uneven on purpose: a pause of three seconds, and a cut of the segments right after it.
PTS = [0, 3000, 6100, 9000, 9001, 12000, 15000, 285000, 288000, 291000, 291500, 294000, 297000, 300001, 303000, 306000]
PARTS = [(0, 7), (7, 8), (8, 16)]


def picture(index, width=96, height=64):
    rng = np.random.RandomState(7)
    texture = rng.randint(0, 256, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    return np.roll(texture, 3 * index, axis=1).astype(np.uint8)


def write(path, start, stop, *, preset="medium", quality=80):
    settings = EncodeConfig(quality=quality, preset=preset)
    colour = Colour(matrix="bt709", range="tv")
    ends = [*PTS[1:], PTS[-1] + 3000]
    with VideoWriter(
        path, width=96, height=64, time_base=TIME_BASE, frame_rate=None, colour=colour, settings=settings
    ) as writer:
        for i in range(start, stop):
            writer.write(PTS[i], picture(i), duration=ends[i] - PTS[i])
    return path


@pytest.fixture
def segments(tmp_path):
    return [write(tmp_path / f"{a}-{b}.mp4", a, b) for a, b in PARTS]


def times(start=0, stop=16):
    return [tick * TIME_BASE for tick in PTS[start:stop]]


def test_every_frame_at_its_time_and_unchanged(tmp_path, segments):
    join_segments(segments, tmp_path / "track.mp4")
    joined = decoded(tmp_path / "track.mp4")
    apart = [item for path in segments for item in decoded(path)]
    assert [time for time, _ in joined] == times()
    for (_, a), (_, b) in zip(joined, apart, strict=True):
        assert np.array_equal(a, b)
    check_frames(tmp_path / "track.mp4", times(), decode=True)
    check_frames(tmp_path / "track.mp4", times(), decode=False)


def test_decoding_times_increase(tmp_path, segments):
    join_segments(segments, tmp_path / "track.mp4")
    with av.open(str(tmp_path / "track.mp4")) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    assert all(a.dts < b.dts for a, b in pairwise(packets))
    assert all(p.dts <= p.pts for p in packets)


def test_a_missing_frame_is_noticed(tmp_path, segments):
    join_segments([segments[0], segments[2]], tmp_path / "track.mp4")
    with pytest.raises(InputError, match="has 15 frames, expected 16"):
        check_frames(tmp_path / "track.mp4", times(), decode=False)


def test_a_frame_at_a_wrong_time_is_noticed(segments):
    wrong = times(0, 7)
    wrong[3] += TIME_BASE
    with pytest.raises(InputError, match="frame 3"):
        check_frames(segments[0], wrong, decode=True)


def test_a_truncated_segment_is_noticed(segments):
    data = segments[2].read_bytes()
    segments[2].write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError):
        check_frames(segments[2], times(8, 16), decode=True)


def test_segments_of_other_settings_are_refused(tmp_path, segments):
    other = write(tmp_path / "other.mp4", 8, 16, preset="ultrafast")
    with pytest.raises(OutputError, match="other settings"):
        join_segments([*segments[:2], other], tmp_path / "track.mp4")
