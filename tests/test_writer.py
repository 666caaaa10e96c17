"""What goes into the encoder comes out of the file: times, colours, shape, the same bytes every time."""

import os
import resource
import signal
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import ffmpeg
import numpy as np
import pytest

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import OutputError, ResourceError, UsageError
from vsr_pipeline.media.ffmpeg import file_url, input_file, run_ffmpeg
from vsr_pipeline.media.write.writer import LUMA_WEIGHTS, VideoWriter
from vsr_pipeline.timeline import Colour

BT709 = Colour(matrix="bt709", range="tv")
SHAPE = {"width": 96, "height": 64, "time_base": Fraction(1, 25), "frame_rate": Fraction(25)}


def noise(count, *, height=64, width=96, dtype=np.uint8, seed=0):
    peak = np.iinfo(dtype).max
    return list(np.random.default_rng(seed).integers(0, peak, (count, height, width, 3), dtype, endpoint=True))


def write(path, frames, *, pts=None, **options):
    with VideoWriter(path, **{"colour": BT709} | SHAPE | options) as writer:
        for tick, pixels in zip(pts or range(len(frames)), frames, strict=True):
            writer.write(tick, pixels, duration=1)


def times(path):
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


TIME_BASES = ["1/90000", "1001/30000", "1/24", "1/1000", "1/600", "1/1000000000", "3/7"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("time_base", TIME_BASES)
@pytest.mark.parametrize("start_seconds", [0, 1.4, 26 * 3600])
def test_variable_timestamps_are_exact(tmp_path, suffix, time_base, start_seconds):
    time_base = Fraction(time_base)
    rng = np.random.default_rng(1)
    frame = max(1, int(Fraction(1, 25) / time_base))
    steps = [frame * int(rng.integers(1, 4)) + int(rng.integers(0, frame)) for _ in range(11)]
    pts = list(accumulate([int(start_seconds / time_base), *steps]))
    write(tmp_path / f"a{suffix}", noise(12), pts=pts, time_base=time_base, frame_rate=None)
    assert times(tmp_path / f"a{suffix}") == [tick * time_base for tick in pts]


def test_matroska_rounds_to_milliseconds(tmp_path):
    pts = [tick * 3754 + 126_000 for tick in range(12)]
    write(tmp_path / "a.mkv", noise(12), pts=pts, time_base=Fraction(1, 90_000))
    got = times(tmp_path / "a.mkv")
    assert len(got) == 12
    assert max(abs(a - Fraction(b, 90_000)) for a, b in zip(got, pts, strict=True)) <= Fraction(1, 2000)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_last_frame_keeps_its_duration(tmp_path, count):
    with VideoWriter(tmp_path / "a.mp4", colour=BT709, **SHAPE) as writer:
        for index, pixels in enumerate(noise(count)):
            writer.write(index, pixels, duration=1)
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(count, 25)
        assert stream.frames == count


def test_two_runs_give_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, noise(40, height=128, width=128), width=128, height=128)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def bars(dtype):
    """Flat blocks of 16x16: the corners of the RGB cube, a ramp of greys, and random colours."""
    peak = np.iinfo(dtype).max
    corners = [[r, g, b] for r in (0, peak) for g in (0, peak) for b in (0, peak)]
    greys = np.linspace(0, peak, 16)[:, None].repeat(3, 1)
    rest = np.random.default_rng(2).integers(0, peak, (40, 3), endpoint=True)
    blocks = np.concatenate([corners, greys, rest]).astype(dtype).reshape(8, 8, 3)
    return blocks, blocks.repeat(16, 0).repeat(16, 1)


@pytest.mark.parametrize("full_range", ["tv", "pc"])
@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_colours_come_back_through_another_decoder(tmp_path, matrix, full_range, bit_depth):
    # The ffmpeg program converts back by the tags of the file, so they are tested with the conversion.
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    blocks, pixels = bars(dtype)
    colour = Colour(matrix=matrix, range=full_range)
    settings = EncodeConfig(quality=98, preset="ultrafast")
    size = {"width": 128, "height": 128, "bit_depth": bit_depth, "settings": settings}
    write(tmp_path / "a.mp4", [pixels], colour=colour, **size)
    decoded = input_file(tmp_path / "a.mp4").filter("scale", flags="accurate_rnd+full_chroma_int+bitexact")
    pixel_format = "rgb24" if bit_depth == 8 else "rgb48le"
    raw = ffmpeg.output(decoded, file_url(tmp_path / "raw"), format="rawvideo", pix_fmt=pixel_format)
    run_ffmpeg(raw, what="decoding")
    got = np.fromfile(tmp_path / "raw", dtype).reshape(128, 128, 3)[8::16, 8::16].astype(int)
    worst = np.abs(got - blocks.astype(int)).max()
    # One step of 8-bit limited range is 1.16 levels of luma and up to 2.1 of blue; 10 bits are four times finer, but
    # swscale, the decoder here, is not.
    assert worst <= (2 if bit_depth == 8 else 2 * 257)


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_are_rounded_to_nearest(tmp_path, bit_depth, dtype):
    blocks, pixels = bars(dtype)
    settings = EncodeConfig(quality=100)
    write(tmp_path / "a.mp4", [pixels], width=128, height=128, bit_depth=bit_depth, settings=settings)
    with av.open(tmp_path / "a.mp4") as container:
        frame = next(container.decode(video=0))
    depth = 8 if bit_depth == 8 else 10
    assert frame.format.name == ("yuv420p" if depth == 8 else "yuv420p10le")
    rgb = blocks / np.iinfo(dtype).max
    luma = (16 + 219 * rgb @ [0.2126, 0.7152, 0.0722]) * 2 ** (depth - 8)
    # crf 0 is lossless in 8 bits only.
    assert np.abs(frame.to_ndarray()[:128][8::16, 8::16] - luma).max() <= (0.51 if depth == 8 else 1.51)


def test_chroma_lies_where_players_look_for_it(tmp_path):
    # A white-to-red edge between columns 15 and 16: centred on even columns, a chroma sample is half-way on column 16.
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[:, 16:] = (255, 0, 0)
    red = {}
    for location in (None, "left", "center", "topleft"):
        colour = Colour(matrix="bt709", range="tv", chroma_location=location)
        size = {"width": 32, "height": 32, "settings": EncodeConfig(quality=100)}
        write(tmp_path / "a.mp4", [pixels], colour=colour, **size)
        with av.open(tmp_path / "a.mp4") as container:
            planes = next(container.decode(video=0)).to_ndarray()
        red[location] = planes[40:].reshape(16, 16)[8, 6:10].tolist()
    assert red["center"] == [128, 128, 240, 240]
    assert red[None] == red["left"] == red["topleft"] == [128, 128, 212, 240]


def test_tags_and_shape_are_written(tmp_path):
    colour = Colour("bt2020nc", "tv", "bt2020", "arib-std-b67", "topleft")
    write(tmp_path / "a.mp4", noise(3), colour=colour, sample_aspect_ratio=Fraction(64, 45), bit_depth=10)
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert stream.sample_aspect_ratio == context.sample_aspect_ratio == Fraction(64, 45)
        numbers = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
        assert numbers == (9, 1, 9, 18)
        assert context.pix_fmt == "yuv420p10le"


def test_an_odd_size_repeats_its_last_row_and_column(tmp_path):
    write(tmp_path / "a.mp4", noise(2, height=33, width=47), width=47, height=33, settings=EncodeConfig(quality=100))
    with av.open(tmp_path / "a.mp4") as container:
        luma = next(container.decode(video=0)).to_ndarray()[:34]
    assert luma.shape == (34, 48)
    assert (luma[33] == luma[32]).all()
    assert (luma[:, 47] == luma[:, 46]).all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_a_resource_error(tmp_path):
    (tmp_path / "a.mp4").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="no space left while writing"):
        write(tmp_path / "a.mp4", noise(40))


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_disk_that_gets_full_on_the_way(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match="no space left while writing"):
            write(tmp_path / "a.mp4", noise(60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*missing"):
        write(tmp_path / "missing" / "a.mp4", noise(1))


def test_what_the_encoder_refuses_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="h264 has no preset 'no such': known are ultrafast"):
        write(tmp_path / "a.mp4", noise(1), settings=EncodeConfig(preset="no such"))
    with pytest.raises(UsageError, match="no encoder no_such"):
        write(tmp_path / "a.mp4", noise(1), settings=EncodeConfig(codec="no_such"))
    with pytest.raises(OutputError, match=r"libx265 cannot encode 8x8 frames .*: use --codec h264 or av1 or ffv1"):
        write(tmp_path / "a.mp4", noise(1, height=8, width=8), width=8, height=8, settings=EncodeConfig(codec="hevc"))


def test_an_error_inside_the_block_is_the_one_that_is_seen(tmp_path):
    def frames():
        yield from noise(5)
        raise KeyboardInterrupt

    def encode():
        with VideoWriter(tmp_path / "a.mp4", colour=BT709, **SHAPE) as writer:
            for index, pixels in enumerate(frames()):
                writer.write(index, pixels)

    with pytest.raises(KeyboardInterrupt):
        encode()


def test_what_no_caller_should_do(tmp_path):
    path = tmp_path / "a.mp4"
    for colour in (Colour(), Colour(matrix="bt709"), Colour(matrix="gbr", range="pc")):
        with pytest.raises(ValueError, match="cannot write"):
            VideoWriter(path, colour=colour, **SHAPE)
    with pytest.raises(ValueError, match="must not be negative and must increase"):
        write(path, noise(2), pts=[5, 5])
    with pytest.raises(ValueError, match="must not be negative and must increase"):
        write(path, noise(1), pts=[-1])
    with pytest.raises(ValueError, match="expected uint8"):
        write(path, noise(1, height=62))
    with pytest.raises(ValueError, match="no frame was written"):
        write(path, [])
