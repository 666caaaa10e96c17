"""From coded values to RGB for every matrix, range, depth and layout, against H.273's formulas in floating point."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from av.video.format import VideoFormat

from tests.support.clips import analyse, ffmpeg
from vsr_pipeline.media.colour import coding_of
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.timeline import Colour

# Red and blue of H.273, table 4.
LUMA_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
# Luma samples per chroma sample (across, down).
LAYOUTS = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
SIZE = (32, 256)


def bars_and_ramp() -> np.ndarray:
    """(32, 256, 3) in 0..1: a grey ramp over eight colour bars."""
    ramp = np.repeat(np.linspace(0, 1, 256)[None, :, None], 3, axis=2).repeat(16, axis=0)
    bars = np.array(list(itertools.product([0.0, 1.0], repeat=3))).repeat(32, axis=0)[None].repeat(16, axis=0)
    return np.vstack([ramp, bars])


def luma_and_chroma(rgb: np.ndarray, matrix: str) -> list[np.ndarray]:
    r, g, b = np.moveaxis(rgb, -1, 0)
    if matrix == "ycgco":
        return [(r + 2 * g + b) / 4, (2 * g - r - b) / 4, (r - b) / 2]
    red, blue = LUMA_WEIGHTS[matrix]
    y = red * r + (1 - red - blue) * g + blue * b
    return [y, (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))]


def codes(planes: list[np.ndarray], *, full: bool, bits: int) -> list[np.ndarray]:
    """Integers of luma 0..1 and chroma -0.5..0.5."""
    top, step = 2**bits - 1, 2 ** (bits - 8)
    luma = planes[0] * top if full else (16 + 219 * planes[0]) * step
    chroma = [2 ** (bits - 1) + plane * (top if full else 224 * step) for plane in planes[1:]]
    kind = "u1" if bits == 8 else "<u2"
    return [np.clip(np.rint(plane), 0, top).astype(kind) for plane in (luma, *chroma)]


def write(path: Path, planes: list[np.ndarray], pixel_format: str, *options: str) -> None:
    """Write one frame of these planes, without a change."""
    height, width = planes[0].shape[:2]
    raw = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}", "-r", "25", "-i", "-")
    ffmpeg(*raw, *options, path, data=b"".join(plane.tobytes() for plane in planes))


def ffv1(**tags: str) -> tuple[str, ...]:
    return ("-vf", "setparams=" + ":".join(f"{key}={value}" for key, value in tags.items()), "-c:v", "ffv1")


def x265(**tags: str) -> tuple[str, ...]:
    """As `ffv1`; this one also takes full range as it is."""
    return (*ffv1(**tags)[:2], "-c:v", "libx265", "-x265-params", "lossless=1:log-level=none")


def first_frame(path: Path) -> np.ndarray:
    """(H, W, 3) in steps of 8 bits."""
    with VideoReader(path) as reader:
        pixels = next(iter(reader)).pixels
    return pixels / (257 if pixels.dtype == np.uint16 else 1)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [*LUMA_WEIGHTS, "ycgco"])
def test_ramp_and_bars_come_back_in_every_matrix(matrix, full, tmp_path):
    rgb = bars_and_ramp()
    planes = luma_and_chroma(rgb, matrix)
    for bits, layout in ((8, "420"), (10, "422"), (12, "444")):
        across, down = LAYOUTS[layout]
        chroma = [plane[::down, ::across] for plane in planes[1:]]
        pixel_format = f"yuv{layout}p" + (f"{bits}le" if bits > 8 else "")
        path = tmp_path / f"{pixel_format}.mkv"
        coded = codes([planes[0], *chroma], full=full, bits=bits)
        write(path, coded, pixel_format, *x265(colorspace=matrix, range="pc" if full else "tv"))
        found = probe(path).colour
        assert (found.matrix, found.range) == (matrix, "pc" if full else "tv"), pixel_format
        error = np.abs(first_frame(path) - np.rint(255 * rgb))
        assert error[:12].max() <= 1, f"{pixel_format}: grey ramp"
        inside = [x for x in range(256) if 6 <= x % 32 < 26]
        assert error[20:, inside].max() <= (1 if bits == 8 else 0.5), f"{pixel_format}: bars"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_chroma(layout, tmp_path):
    rgb = bars_and_ramp()
    planes = luma_and_chroma(rgb, "bt709")
    across, down = LAYOUTS[layout]
    coded = codes([planes[0], *(plane[::down, ::across] for plane in planes[1:])], full=False, bits=8)
    write(tmp_path / "a.mkv", coded, f"yuv{layout}p", *ffv1(colorspace="bt709", range="tv"))
    error = np.abs(first_frame(tmp_path / "a.mkv") - np.rint(255 * rgb))
    assert error[:10].max() <= 1
    assert error[22:, [x for x in range(256) if 10 <= x % 32 < 22]].max() <= 1


@pytest.mark.parametrize("pixel_format", ["gbrp", "gbrp10le", "gbrp12le", "gbrp16le", "gray", "gray10le", "gray16le"])
def test_rgb_and_grey_are_exact(pixel_format, tmp_path):
    bits = int(pixel_format.strip("grbpayle") or 8)
    grey = pixel_format.startswith("gray")
    rgb = bars_and_ramp() if not grey else bars_and_ramp()[:16].repeat(2, axis=0)
    kind = "u1" if bits == 8 else "<u2"
    planes = [np.rint(rgb[..., channel] * (2**bits - 1)).astype(kind) for channel in (1, 2, 0)]
    write(tmp_path / "a.mkv", planes[:1] if grey else planes, pixel_format, "-c:v", "ffv1")
    assert np.abs(first_frame(tmp_path / "a.mkv") - 255 * rgb).max() <= (0.5 if bits == 8 else 0.3)


SITES = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0), "bottomleft": (0.0, 1.0)}


def sloping_chroma(site: tuple[float, float]) -> tuple[list[np.ndarray], np.ndarray]:
    """4:2:0 planes of 10 bits whose chroma rises evenly to the right and down, sited so; and Cb at every luma sample.

    Even slopes are interpolated without an error, so that half a sample of displacement shows.
    """
    lines, columns = np.mgrid[0:64, 0:64].astype(np.float64)
    slope = 320 + 4 * columns + 4 * lines
    down, across = (np.arange(0, 64, 2) + site[1], np.arange(0, 64, 2) + site[0])
    chroma = np.rint(320 + 4 * across[None] + 4 * down[:, None]).astype("<u2")
    return [np.full((64, 64), 500, "<u2"), chroma, np.full((32, 32), 512, "<u2")], slope


def blue_error(path: Path, slope: np.ndarray) -> float:
    """Mean error of blue inside the picture, in steps of 8 bits."""
    blue = ((500 - 64) / 876 + 2 * (1 - 0.0722) * (slope - 512) / 896) * 255
    return float(np.mean((first_frame(path)[..., 2] - blue)[8:-8, 8:-8]))


@pytest.mark.parametrize("site", SITES)
def test_chroma_is_where_the_source_says(site, tmp_path):
    planes, slope = sloping_chroma(SITES[site])
    number = list(SITES).index(site)
    options = f"lossless=1:log-level=none:chromaloc={number}:colormatrix=bt709:range=limited"
    write(tmp_path / "a.mkv", planes, "yuv420p10le", "-c:v", "libx265", "-x265-params", options)
    assert probe(tmp_path / "a.mkv").colour.chroma_location == site
    assert abs(blue_error(tmp_path / "a.mkv", slope)) < 0.15
    assert analyse(tmp_path / "a.mkv").notes == ()


def test_chroma_of_unknown_place_is_taken_as_players_take_it(tmp_path):
    planes, slope = sloping_chroma(SITES["left"])
    path = tmp_path / "a.mkv"
    write(path, planes, "yuv420p10le", *ffv1(colorspace="bt709", range="tv"))
    assert probe(path).colour.chroma_location is None
    assert analyse(path).notes == ("the chroma location is not tagged: left assumed",)
    assert abs(blue_error(path, slope)) < 0.15
    full, notes = coding_of(Colour("bt709", "pc"), VideoFormat("yuv420p"), width=64, height=64)
    assert full.chroma_location == "center"
    assert notes == ("the chroma location is not tagged: center assumed",)
    assert coding_of(Colour("bt709", "tv"), VideoFormat("yuv444p"), width=64, height=64)[1] == ()


def test_what_is_guessed_is_said_once(tmp_path):
    path = tmp_path / "a.avi"
    y, *chroma = codes(luma_and_chroma(bars_and_ramp(), "smpte170m"), full=False, bits=8)
    write(path, [y, *(plane[::2, ::2] for plane in chroma)], "yuv420p", "-c:v", "rawvideo")
    said = ("the colour matrix is not tagged: smpte170m assumed from the picture's size",)
    said += ("the colour range is not tagged: limited range assumed",)
    said += ("the chroma location is not tagged: left assumed",)
    assert analyse(path).notes == said
    with VideoReader(path) as reader:
        list(reader)
        assert tuple(reader.notes) == said
    strange = tmp_path / "a.mkv"
    write(strange, [y, *chroma], "yuv444p", *ffv1(colorspace="ictcp", range="tv"))
    assert first_frame(strange).shape == (*SIZE, 3)
    assert analyse(strange).notes == (
        "the colour matrix ictcp is not supported: smpte170m assumed from the picture's size",
    )


def test_transparency_is_dropped(tmp_path):
    planes = [np.full(SIZE, value, np.uint8) for value in (80, 40, 20, 0)]
    write(tmp_path / "a.mkv", planes, "gbrap", "-c:v", "ffv1")
    assert probe(tmp_path / "a.mkv").has_alpha
    assert analyse(tmp_path / "a.mkv").notes == ("transparency is dropped",)
    assert first_frame(tmp_path / "a.mkv")[3, 3].tolist() == [20, 80, 40]


def test_hdr_is_described(shared_data):
    path = shared_data / "data/media/tenbit_hdr/androidx__sample_with_colr_mdcv_and_clli.mp4"
    info = probe(path)
    assert info.is_hdr
    assert info.hdr is not None
    assert info.hdr.primaries is not None
    assert all(0 < x < 1 and 0 < y < 1 for x, y in info.hdr.primaries)


def test_mastering_metadata(tmp_path):
    planes, _ = sloping_chroma(SITES["topleft"])
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    options = f"log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:master-display={display}"
    path = tmp_path / "a.mkv"
    write(path, planes, "yuv420p10le", "-c:v", "libx265", "-x265-params", f"{options}:max-cll=1000,400:hdr10=1")
    info = probe(path)
    assert info.hdr is not None
    assert info.hdr.primaries is not None
    assert [float(x) for x, _ in info.hdr.primaries] == [0.68, 0.265, 0.15]
    assert info.hdr.white_point is not None
    assert tuple(map(float, info.hdr.white_point)) == (0.3127, 0.329)
    assert (info.hdr.max_luminance, info.hdr.min_luminance) == (1000, pytest.approx(0.005))
    assert (info.hdr.max_cll, info.hdr.max_fall) == (1000, 400)
    warning = "the picture is HDR (PQ) and processed as coded: the model was trained on SDR"
    assert analyse(path).notes.count(warning) == 1


def test_an_ordinary_picture_is_not_hdr(tmp_path):
    write(tmp_path / "sdr.mkv", [np.zeros(SIZE, np.uint8)] * 3, "gbrp", "-c:v", "ffv1")
    info = probe(tmp_path / "sdr.mkv")
    assert not info.is_hdr
    assert info.hdr is None
