"""Colour tags by number and by name, and the arithmetic from coded values to RGB (ITU-T H.273)."""

from dataclasses import dataclass
from functools import cache

import av.error
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from vsr_pipeline.timeline import Colour, Tint

# Numbers of H.273 and ffmpeg's names; what is not listed is unspecified or reserved.
_MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_RANGES = {1: "tv", 2: "pc"}

# Where swscale puts a chroma sample among the 2x2 luma samples that it belongs to: columns and lines from their first.
_SITES = {
    (0.0, 0.5): "left", (0.5, 0.5): "center", (0.0, 0.0): "topleft", (0.5, 0.0): "top", (0.0, 1.0): "bottomleft",
    (0.5, 1.0): "bottom",
}  # fmt: skip
# Decoders that always say where chroma lies, so that the middle, which is also swscale's default, is what they said.
_ALWAYS_SITED = frozenset({"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mjpeg", "theora"})

_SWSCALE_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})

# Weights of red and blue in luma, by ffmpeg's names of the matrices.
LUMA_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}

SWSCALE_THREADS = 1
"""For each conversion by swscale: with more, a thread may write over the first pixels of another one's rows."""


def matrix_for_swscale(frame: VideoFrame) -> int | None:
    """Matrix to name on both sides when swscale converts a frame: it refuses those that it does not know.

    None, for the frame's own, where it does. Which one it is makes no difference between formats of YUV.
    """
    return None if frame.colorspace in _SWSCALE_MATRICES else int(Colorspace.ITU709)


def colour_of(frame: VideoFrame) -> Colour:
    """Colour tags of a decoded frame but for the chroma location; None where it does not say."""
    full = frame.format.name.startswith("yuvj")
    return Colour(
        matrix=_MATRICES.get(frame.colorspace),
        range="pc" if full else _RANGES.get(frame.color_range),
        primaries=_PRIMARIES.get(frame.color_primaries),
        transfer=_TRANSFERS.get(frame.color_trc),
    )


def chroma_location_of(frame: VideoFrame, codec: str) -> str | None:
    """Where the chroma samples of a decoded 4:2:0 or 4:2:2 frame lie, in ffmpeg's names; None where it does not say.

    PyAV does not tell, but swscale honours it: one coloured sample, in a small frame with the same properties, is
    enlarged, and it shows where it went.
    """
    if not _is_subsampled(frame.format):
        return None
    side = 32 if frame.width == 16 else 16  # not the frame's own: then the frame itself would be painted on
    matrix = matrix_for_swscale(frame)
    try:
        small = VideoReformatter().reformat(
            frame,
            width=side,
            height=side,
            format="yuv420p",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            threads=SWSCALE_THREADS,
        )
    except av.error.FFmpegError:
        return None  # converting it all will fail likewise, with a message
    for plane, dot in zip(small.planes, (None, 4, 4), strict=True):
        samples = np.zeros((plane.height, plane.line_size), np.uint8)
        if dot is not None:
            samples[dot, dot] = 200
        plane.update(samples.tobytes())
    level = ColorRange.MPEG
    large = VideoReformatter().reformat(
        small,
        format="yuv444p",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        src_color_range=level,
        dst_color_range=level,
        threads=SWSCALE_THREADS,
    )
    light = np.frombuffer(memoryview(large.planes[1]), np.uint8).reshape(side, -1)[:, :side].astype(np.float64)
    column, line = (float(light.sum(axis=axis) @ np.arange(side) / light.sum()) - 8 for axis in (0, 1))
    site = _SITES.get((round(2 * column) / 2, round(2 * line) / 2))
    return None if site == "center" and codec not in _ALWAYS_SITED else site


@dataclass(frozen=True, slots=True)
class Coding:
    """What is needed to understand coded values; nothing is left open."""

    matrix: str
    full_range: bool
    chroma_location: str


def coding_of(colour: Colour, pixel_format: VideoFormat, *, width: int, height: int) -> tuple[Coding, tuple[str, ...]]:
    """Fill what a YUV or grey stream does not say in, as players do; the second value tells what was assumed."""
    notes = []
    grey = is_grey(pixel_format)
    matrix, level, site = colour.matrix, colour.range, colour.chroma_location
    if not grey and (matrix is None or not matrix_is_known(matrix)):
        found = "the colour matrix is not tagged" if matrix is None else f"the colour matrix {matrix} is not supported"
        matrix = guess_matrix(width, height)
        notes.append(f"{found}: {matrix} assumed from the picture's size")
    if level is None:
        level = "pc" if grey else "tv"
        notes.append(f"the colour range is not tagged: {'full' if level == 'pc' else 'limited'} range assumed")
    if site is None:
        site = "center" if level == "pc" else "left"
        if not grey and _is_subsampled(pixel_format):
            notes.append(f"the chroma location is not tagged: {site} assumed")
    return Coding(matrix or "bt709", level == "pc", site), tuple(notes)


def is_rgb(pixel_format: VideoFormat) -> bool:
    """Whether swscale makes the RGB of it: RGB itself, palettes, black and white, XYZ, sensor data."""
    return pixel_format.is_rgb or pixel_format.name.startswith(("mono", "xyz", "pal", "bayer"))


def has_alpha(pixel_format: VideoFormat) -> bool:
    """Whether pixels have a transparency."""
    return pixel_format.name == "pal8" or any(component.is_alpha for component in pixel_format.components)


def is_grey(pixel_format: VideoFormat) -> bool:
    """Whether there is brightness only, perhaps with a transparency."""
    return pixel_format.name.startswith(("gray", "ya8", "ya16"))


def _is_subsampled(pixel_format: VideoFormat) -> bool:
    return pixel_format.chroma_width(16) < 16 or pixel_format.chroma_height(16) < 16


def matrix_is_known(matrix: str | None) -> bool:
    """Whether `yuv_to_rgb` has this matrix."""
    return matrix in LUMA_WEIGHTS or matrix == "ycgco"


def guess_matrix(width: int, height: int) -> str:
    """Matrix that players take for a stream without a tag: by size, high definition or not."""
    return "bt709" if width >= 1280 or height >= 720 else "smpte170m"


@cache
def yuv_to_rgb(matrix: str, *, full_range: bool, bits: int, white: int) -> npt.NDArray[np.float64]:
    """(3, 4) affine map from coded Y, Cb, Cr, shifted up to 16 bits, to R, G, B in 0..`white`.

    `bits` is how many bits the values were coded with: full range ends at 2^bits - 1, limited range scales with 2^bits.
    """
    scale, offset = _levels(full_range=full_range, bits=bits)
    mix = _mix(matrix) * scale * white
    return np.column_stack([mix, -mix @ offset])


def tint_of(coding: "Coding", bits: int, chroma: tuple[int, int]) -> Tint:
    """Return the tint of a picture whose chroma samples, of so many bits, all have these values."""
    scale, offset = _levels(full_range=coding.full_range, bits=bits)
    codes = np.array([0, *chroma]) * 2.0 ** (16 - bits)
    red, green, blue = (float(part) + 0.0 for part in _mix(coding.matrix)[:, 1:] @ ((codes - offset) * scale)[1:])
    return Tint(red, green, blue)


def _mix(matrix: str) -> npt.NDArray[np.float64]:
    """(3, 3) matrix from luma in 0..1 and chroma in -0.5..0.5 to R, G, B in 0..1."""
    if matrix == "ycgco":
        return np.array([[1, -1, 1], [1, 1, 0], [1, -1, -1]], dtype=np.float64)
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    return np.array([[1, 0, to_red], [1, -to_blue * blue / green, -to_red * red / green], [1, to_blue, 0]])


def grey_to_rgb(*, full_range: bool, bits: int, white: int) -> npt.NDArray[np.float64]:
    """(3, 2) affine map from coded grey, shifted up to 16 bits, to R, G, B in 0..`white`."""
    scale, offset = _levels(full_range=full_range, bits=bits)
    return np.full((3, 2), [scale[0] * white, -offset[0] * scale[0] * white])


def _levels(*, full_range: bool, bits: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale to 0..1 (chroma: -0.5..0.5) and coded zero of Y, Cb, Cr, for values that are shifted up to 16 bits."""
    if full_range:
        peak = float((2**bits - 1) << (16 - bits))
        return np.array([1 / peak] * 3), np.array([0.0, 32768, 32768])
    return np.array([1 / 219, 1 / 224, 1 / 224]) / 256, np.array([16.0, 128, 128]) * 256
