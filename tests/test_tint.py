"""Grey in, grey out: a shot of one tint keeps it exactly, with every model."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.clips import analyse, ledger
from tests.support.enhancing import LOSSLESS, enhance, make, picture, ran
from vsr_pipeline import cli
from vsr_pipeline.config import InputConfig
from vsr_pipeline.media.tint import GREY, TintFinder, tint_of_pixels, with_tint
from vsr_pipeline.media.write.planes import RgbToYuv
from vsr_pipeline.plan import part_of
from vsr_pipeline.timeline import Colour, Timeline, Tint, VideoInfo

NETWORK = ("--model", "realbasicvsr-open-fast-x4")
SMALL = picture("40x32", frames=3)


def chroma(path):
    """All values of both chroma planes, in all frames, as of 8 bits."""
    found = (set(), set())
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            for values, plane in zip(found, frame.planes[1:3], strict=True):
                bits = frame.format.components[1].bits
                dtype = np.uint8 if bits == 8 else np.uint16
                rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)[:, : plane.width]
                values.update(value / 2 ** (bits - 8) for value in set(rows.ravel().tolist()))
    return found


SOURCES = {
    "yuv420p": ("a.mkv", "hue=s=0,format=yuv420p", *LOSSLESS),
    "yuv444p10le": ("a.mkv", "hue=s=0,format=yuv444p10le", *LOSSLESS),
    "h264": ("a.mp4", "hue=s=0,format=yuv420p", "-c:v", "libx264"),
    "gray": ("a.mkv", "format=gray", *LOSSLESS),
    "gray10le": ("a.mkv", "format=gray10le", *LOSSLESS),
    "rgb24": ("a.mov", "format=gray,format=rgb24", "-c:v", "png"),
}
FORMATS = """
    yuv410p yuv411p yuv420p16be yuvj422p yuva420p yuva444p10le nv12 nv21 nv16 nv24 p010le p016le p210le p410le
    yuyv422 uyvy422 y210le vuyx xv36le rgba bgr0 gbrp10le rgb48be monow gray16be ya8 ya16le
"""


@pytest.mark.parametrize("kind", SOURCES)
def test_grey_is_told_in_every_format(tmp_path, kind):
    name, filters, *codec = SOURCES[kind]
    found = analyse(make(tmp_path / name, *SMALL, "-vf", filters, *codec), InputConfig())
    assert found.timeline.tints == (GREY,)
    assert "the picture is grey and stays so" in found.notes


@pytest.mark.parametrize("pixel_format", FORMATS.split())
def test_grey_is_told_in_every_pixel_format(pixel_format):
    ramp = np.linspace(0, 255, 40 * 32).astype(np.uint8).reshape(32, 40)
    found = []
    for colour in (0, 90):
        pixels = np.stack([ramp, ramp, np.maximum(ramp, colour)], axis=2)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="gray8" if colour == 0 and "rgb" not in pixel_format else None)
        info = VideoInfo(Path("a"), "nut", "rawvideo", 0, 40, 32, pixel_format, 8, Fraction(1, 25), None)
        tints = TintFinder(info)
        tints.feed(frame.reformat(format=pixel_format))
        found += tints.of_shots(())
    always = pixel_format.startswith(("mono", "gray", "ya"))
    assert found == [GREY, GREY if always else None]


@pytest.mark.parametrize("kind", ["h264", "gray", "rgb24"])
def test_grey_stays_grey(tmp_path, kind):
    name, filters, *codec = SOURCES[kind]
    source = make(tmp_path / name, *SMALL, "-vf", filters, *codec)
    result = ran(source, tmp_path, *NETWORK, "--codec", "ffv1", suffix=".mkv")
    assert chroma(result.output) == ({128}, {128})
    for still in ("before_still", "after_still"):
        pixels = cv2.imread(result.clip[still]).astype(int)
        assert max(abs(pixels[..., 0] - pixels[..., k]).max() for k in (1, 2)) == 0


@pytest.mark.parametrize(
    ("pixel_format", "scale", "level"),
    [("yuv420p", 1, "tv"), ("yuv422p10le", 4, "tv"), ("yuv444p12le", 16, "tv")],
)
def test_a_tint_is_kept_to_the_value(tmp_path, pixel_format, scale, level):
    filters = f"format={pixel_format},lutyuv=u={110 * scale}:v={145 * scale},setparams=range={level}"
    source = make(tmp_path / "sepia.mkv", *SMALL, "-vf", filters, *LOSSLESS)
    assert chroma(source) == ({110}, {145})
    result = ran(source, tmp_path, *NETWORK, "--codec", "ffv1", suffix=".mkv")
    assert chroma(result.output) == ({110}, {145})
    assert "of one tint and stays so" in result.notes


def test_one_sample_of_colour_is_colour(tmp_path):
    filters = "hue=s=0,format=yuv420p,geq=lum='lum(X,Y)':cb='if(eq(X,5)*eq(Y,3)*eq(N,1),129,128)':cr=128"
    source = make(tmp_path / "nearly.mkv", *SMALL, "-vf", filters, *LOSSLESS)
    assert analyse(source, InputConfig()).timeline.tints == (None,)


@pytest.fixture
def mixed(tmp_path):
    """A shot in colours, then a grey one."""
    colours = ("-f", "lavfi", "-i", "testsrc2=size=40x32:rate=24:duration=0.25")
    grey = ("-f", "lavfi", "-i", "mandelbrot=size=40x32:rate=24,trim=duration=0.25,hue=s=0")
    joined = "[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]concat=n=2:v=1"
    return make(tmp_path / "mixed.mkv", *colours, *grey, "-filter_complex", joined, *LOSSLESS)


def test_each_shot_for_itself(tmp_path, mixed):
    result = ran(mixed, tmp_path, *NETWORK, "--codec", "ffv1", suffix=".mkv")
    assert "the picture is grey and stays so in 1 of 2 shots" in result.notes
    with av.open(str(result.output)) as container:
        flat = [
            all(len(set(memoryview(plane).cast("B").cast("H")[: plane.width])) == 1 for plane in frame.planes[1:])
            for frame in container.decode(video=0)
        ]
    assert flat == [False] * 6 + [True] * 6


def test_the_ledger_keeps_it_and_a_second_run_is_the_same(tmp_path, mixed):
    first = ran(mixed, tmp_path, "--segment-frames", "4").output
    with ledger(first) as kept:
        assert kept.analysis().timeline.tints == (None, GREY)
        assert len(kept.segments()) > 2
    content = first.read_bytes()
    first.unlink()
    (tmp_path / ".vsr" / first.name / "ledger.sqlite").unlink()
    assert ran(mixed, tmp_path, "--segment-frames", "4").output.read_bytes() == content


def test_the_part_that_is_enhanced_counts(tmp_path, mixed):
    """The frame after the part is analysed, too; its colours are of no matter."""
    backwards = make(tmp_path / "backwards.mkv", "-i", str(mixed), "-vf", "reverse", *LOSSLESS)
    result = ran(backwards, tmp_path, "--max-frames", "6")
    assert "the picture is grey and stays so" in result.notes.splitlines()


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", np.uint8), (".png", np.uint16), (".jpg", np.uint8)])
def test_grey_pictures_stay_grey(tmp_path, suffix, dtype):
    small = np.random.RandomState(1).randint(0, 256, (8, 10)).astype(dtype) * (257 if dtype is np.uint16 else 1)
    grey = cv2.resize(small.astype(dtype), (40, 32), interpolation=cv2.INTER_CUBIC)
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"in_{number}{suffix}"), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    pattern = str(tmp_path / f"in_%d{suffix}")
    assert cli.run(["run", pattern, "--output", str(tmp_path / "out_%d.png"), *NETWORK]) == 0
    result = enhance(tmp_path / f"in_0{suffix}", tmp_path / "alone.png", *NETWORK)
    assert result.code == 0
    for name in ("out_0.png", "out_1.png", "alone.png"):
        pixels = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert pixels.dtype == dtype
        assert tint_of_pixels(pixels) == GREY


def test_grey_through_the_stages(tmp_path):
    name, filters, *codec = SOURCES["h264"]
    source = make(tmp_path / name, *SMALL, "-vf", filters, *codec)
    results = tmp_path / "results"
    assert cli.run(["split", str(source), "--results", str(results)]) == 0
    assert cli.run(["enhance", str(results / "a" / "frames"), *NETWORK]) == 0
    output = tmp_path / "merged.mkv"
    assert cli.run(["merge", str(results / "a" / "enhanced"), "--output", str(output), "--codec", "ffv1"]) == 0
    assert chroma(output) == ({128}, {128})


def test_frames_that_were_coloured_by_hand_keep_their_colours(tmp_path):
    name, filters, *codec = SOURCES["h264"]
    source = make(tmp_path / name, *SMALL, "-vf", filters, *codec)
    results = tmp_path / "results"
    assert cli.run(["split", str(source), "--results", str(results)]) == 0
    frame = results / "a" / "frames" / "00000001.png"
    pixels = cv2.imread(str(frame))
    pixels[:16, :, 0] = 255
    cv2.imwrite(str(frame), pixels)
    assert cli.run(["enhance", str(results / "a" / "frames"), "--model", "bicubic-x4"]) == 0
    assert tint_of_pixels(cv2.imread(str(results / "a" / "enhanced" / "00000001.png"))) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "nv12"])
@pytest.mark.parametrize("level", ["tv", "pc"])
def test_equal_channels_are_neutral_chroma(dtype, pixel_format, level):
    """What a grey picture becomes where no tint is known, such as images that are merged."""
    peak = np.iinfo(dtype).max
    ramp = np.linspace(0, peak, 64 * 64).astype(dtype).reshape(64, 64)
    for matrix in ("bt709", "smpte170m", "bt2020nc"):
        frame = RgbToYuv(Colour(matrix=matrix, range=level), pixel_format)(np.stack([ramp] * 3, axis=2))
        planes = frame.reformat(format="yuv420p").planes if pixel_format == "nv12" else frame.planes
        for plane in planes[1:]:
            samples = np.frombuffer(memoryview(plane), np.uint16 if "10" in pixel_format else np.uint8)
            rows = samples.reshape(plane.height, -1)[:, : plane.width]
            assert set(rows.ravel().tolist()) == {512 if "10" in pixel_format else 128}


def test_with_tint_keeps_luma():
    colours = np.random.RandomState(2).randint(60, 190, (16, 16, 3)).astype(np.uint8)
    luma = colours @ np.array([0.2126, 0.7152, 0.0722])
    grey = with_tint(colours, GREY)
    assert tint_of_pixels(grey) == GREY
    assert abs(grey[..., 0] - luma).max() <= 0.51
    assert with_tint(colours, None) is colours
    sepia = with_tint(colours, Tint(0.1, 0.0, -0.1)).astype(int)
    assert set((sepia[..., 0] - sepia[..., 2]).ravel().tolist()) <= {50, 51, 52}


def test_tints_follow_the_timeline():
    sepia = Tint(0.1, 0.0, -0.1)
    whole = Timeline.constant_rate(9, Fraction(25), (3, 6))
    whole = replace(whole, tints=(GREY, None, sepia), repeats=(1, 5))
    assert [whole.tint_at(index) for index in (0, 2, 3, 5, 6, 8)] == [GREY, GREY, None, None, sepia, sepia]
    assert whole.without_repeats.tints == whole.tints
    part = part_of(whole, InputConfig(start="0.16", max_frames=3), start_seconds=Fraction(0)).timeline
    assert (part.cuts, part.tints) == ((2,), (None, sepia))
    with pytest.raises(ValueError, match="2 tints for 3 shots"):
        replace(whole, tints=(GREY, None))
