"""Colour tags by number and by name, and the arithmetic from coded values to RGB (ITU-T H.273)."""

from functools import cache

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vsr_pipeline.timeline import Colour

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

# Weights of red and blue in luma, by ffmpeg's names of the matrices.
LUMA_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}


def colour_of(frame: VideoFrame) -> Colour:
    """Colour tags of a decoded frame; None where it does not say. PyAV does not tell the chroma location."""
    full = frame.format.name.startswith("yuvj")
    return Colour(
        matrix=_MATRICES.get(frame.colorspace),
        range="pc" if full else _RANGES.get(frame.color_range),
        primaries=_PRIMARIES.get(frame.color_primaries),
        transfer=_TRANSFERS.get(frame.color_trc),
    )


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
    if matrix == "ycgco":
        mix = np.array([[1, -1, 1], [1, 1, 0], [1, -1, -1]], dtype=np.float64)
    else:
        red, blue = LUMA_WEIGHTS[matrix]
        green = 1 - red - blue
        to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
        mix = np.array([[1, 0, to_red], [1, -to_blue * blue / green, -to_red * red / green], [1, to_blue, 0]])
    scale, offset = _levels(full_range=full_range, bits=bits)
    mix = mix * scale * white
    return np.column_stack([mix, -mix @ offset])


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
