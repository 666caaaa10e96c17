"""Colours through `vsr run`: every matrix and range, many pixel formats, HDR, transparency. Made by ffmpeg."""

import numpy as np
import pytest

from tests.support.enhancing import LOSSLESS, make, picture, ran
from tests.support.second_reader import header, pixels

WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
WIDTH, BAR_ROWS, RAMP_ROWS = 256, 16, 16


def coded(rgb, matrix, full_range, bits):
    """RGB in 0..1 as coded Y, Cb, Cr (H.273)."""
    red, blue = WEIGHTS[matrix]
    luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    cb, cr = (rgb[2] - luma) / (2 - 2 * blue), (rgb[0] - luma) / (2 - 2 * red)
    if full_range:
        peak = 2**bits - 1
        return np.rint([luma * peak, cb * peak + 2 ** (bits - 1), cr * peak + 2 ** (bits - 1)])
    step = 2 ** (bits - 8)
    return np.rint([(16 + 219 * luma) * step, (128 + 224 * cb) * step, (128 + 224 * cr) * step])


def ramp_and_bars(matrix, full_range, bits=8):
    """Y, Cb, Cr (4:2:0) of a grey ramp of one code value per pixel above colour bars of three quarters."""
    step = 2 ** (bits - 8)
    first, last = (0, 2**bits - 1) if full_range else (16 * step, 235 * step)
    height = RAMP_ROWS + BAR_ROWS
    y = np.empty((height, WIDTH), int)
    y[:RAMP_ROWS] = np.clip(np.arange(WIDTH) * step + first, first, last)
    cb, cr = (np.full((height // 2, WIDTH // 2), 2 ** (bits - 1)) for _ in range(2))
    for number, bar in enumerate(BARS):
        values = coded(0.75 * np.array(bar), matrix, full_range, bits)
        columns = slice(number * WIDTH // 8, (number + 1) * WIDTH // 8)
        halves = slice(number * WIDTH // 16, (number + 1) * WIDTH // 16)
        y[RAMP_ROWS:, columns], cb[RAMP_ROWS // 2 :, halves], cr[RAMP_ROWS // 2 :, halves] = values
    return y, cb, cr


def planes_of(raw, height, bits):
    """Y, Cb, Cr of one raw 4:2:0 frame that is 4 * WIDTH pixels wide."""
    samples = np.frombuffer(raw, np.uint8 if bits == 8 else "<u2").astype(int)
    wide, area = 4 * WIDTH, 4 * WIDTH * height
    assert samples.size == area * 3 // 2
    y, cb, cr = np.split(samples, [area, area * 5 // 4])
    return y.reshape(height, wide), cb.reshape(height // 2, wide // 2), cr.reshape(height // 2, wide // 2)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_ramp_and_bars_come_back_within_one_code_value(tmp_path, matrix, range_, bits):
    y, cb, cr = ramp_and_bars(matrix, range_ == "pc", bits)
    raw = b"".join(plane.astype(np.uint8 if bits == 8 else "<u2").tobytes() for plane in (y, cb, cr))
    pixel_format = "yuv420p" if bits == 8 else "yuv420p10le"
    size = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{WIDTH}x{y.shape[0]}", "-i", "-")
    tags = f"setparams=range={range_}:colorspace={matrix}:color_primaries=bt709:color_trc=bt709"
    source = make(tmp_path / "in.mkv", *size, "-vf", tags, "-color_range", range_, *LOSSLESS, stdin=raw)

    result = ran(source, tmp_path, "--quality", "100", suffix=".mkv")

    expected = header(source).pictures[0].colour
    assert header(result.output).pictures[0].colour == expected
    found_y, found_cb, found_cr = planes_of(pixels(result.output), 4 * y.shape[0], bits)
    # The ramp, pixel for pixel: output pixel k of a source pixel lies (k - 1.5) / 4 of its width off its centre.
    ramp = slice(8, 4 * RAMP_ROWS - 16)
    last = int(np.argmax(y[0])) - 3
    at = (np.arange(4 * WIDTH) - 1.5) / 4
    wanted = np.interp(at, np.arange(WIDTH), y[0])[12 : 4 * last]
    assert np.abs(found_y[ramp, 12 : 4 * last] - wanted).max() <= 1
    assert np.abs(found_cb[4 : ramp.stop // 2] - cb[0, 0]).max() <= 1
    assert np.abs(found_cr[4 : ramp.stop // 2] - cr[0, 0]).max() <= 1
    # Inside the bars.
    for number in range(len(BARS)):
        column = number * WIDTH // 8 + WIDTH // 16
        there = (slice(4 * RAMP_ROWS + 24, -4), slice(4 * column - 16, 4 * column + 16))
        half = (slice(2 * RAMP_ROWS + 12, -2), slice(2 * column - 8, 2 * column + 8))
        assert np.abs(found_y[there] - y[-1, column]).max() <= 1
        assert np.abs(found_cb[half] - cb[-1, column // 2]).max() <= 1
        assert np.abs(found_cr[half] - cr[-1, column // 2]).max() <= 1


@pytest.mark.parametrize(
    ("pixel_format", "depth"),
    [
        *((name, 8) for name in ("yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "gray", "gbrp", "bgr0")),
        *((name, 10) for name in ("yuv420p12le", "yuv422p10le", "yuv444p12le", "gray12le", "gbrp10le", "gray16le")),
    ],
)
def test_pixel_formats(tmp_path, pixel_format, depth):
    source = make(tmp_path / "in.mkv", *picture(frames=3, source="smptebars"), "-pix_fmt", pixel_format, *LOSSLESS)
    result = ran(source, tmp_path, suffix=".mkv")
    assert (header(result.output).pictures[0].depth, header(result.output).pictures[0].frames) == (depth, 3)
    # Judged by ffmpeg's own conversion, pixels averaged back to the source's size.
    before = np.frombuffer(pixels(source, "rgb24", "-frames:v", "1"), np.uint8).reshape(48, 64, 3).astype(float)
    after = np.frombuffer(pixels(result.output, "rgb24", "-frames:v", "1"), np.uint8).reshape(48, 4, 64, 4, 3)
    difference = np.abs(after.mean((1, 3)) - before)
    # Most of the picture is flat; with 4:1:1 and 4:1:0 half of it is next to an edge of chroma.
    assert np.median(difference) <= (4 if pixel_format in ("yuv411p", "yuv410p") else 1.5)
    assert difference.mean() < 14


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "HLG"), ("smpte2084", "PQ")])
def test_hdr_stays_hdr(tmp_path, transfer, name):
    tags = f"setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}"
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    hevc = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", f"{light}:log-level=none")
    source = make(tmp_path / "in.mp4", *picture(frames=3), "-vf", tags, "-pix_fmt", "yuv420p10le", *hevc)
    result = ran(source, tmp_path)
    before, after = header(source).pictures[0], header(result.output).pictures[0]
    assert after.codec in ("HEVC", "AV1")
    assert (after.depth, after.colour, after.colour[3]) == (10, before.colour, name)
    assert (after.mastering, after.max_light) == (before.mastering, before.max_light)
    assert before.mastering
    assert "SDR" in result.notes


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-cpu-used", "8", "-deadline", "realtime")),
        (".mov", ("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le")),
        (".mov", ("-c:v", "png", "-pix_fmt", "rgba")),
    ],
)
def test_alpha_is_dropped_with_a_warning(tmp_path, suffix, options):
    alpha = ("-vf", "format=rgba,colorchannelmixer=aa=0.5")
    source = make(tmp_path / f"in{suffix}", *picture(frames=2), *alpha, *options)
    result = ran(source, tmp_path, suffix=".mkv")
    assert header(result.output).pictures[0].frames == 2
    assert "transparency" in result.notes
