"""The codecs that can be written, as a table: encoder, pixel formats, quality, preset, what keeps the bytes the same.

`quality` is one scale, 0 to 100, for all of them: the points of each encoder were measured so that one number looks
about the same whatever the codec (docs/encoding.md has the numbers).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import UsageError

AUTO: Final = "auto"

_H26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
_NVENC_PRESETS = ("p1", "p2", "p3", "p4", "p5", "p6", "p7", "fast", "medium", "slow")
_QSV_PRESETS = ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_AMF_PRESETS = ("speed", "balanced", "quality")
_ALL_SITES = ("left", "center", "topleft", "top", "bottomleft", "bottom")


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoder and how it is used."""

    encoder: str
    """ffmpeg's name of the encoder."""
    format: str
    """ffmpeg's name of what it writes."""
    pixel_format: str
    """For sources of 8 bits."""
    deep_pixel_format: str | None
    """For deeper ones; None if it cannot write them."""
    quality_options: tuple[str, ...]
    """What takes the value that `quality_points` gives; none where everything is lossless."""
    quality_points: tuple[tuple[int, float], ...] = ()
    """(quality, value): in between, values are interpolated."""
    whole_quality: bool = True
    """Whether values are whole numbers."""
    presets: tuple[str, ...] = ()
    preset: str | None = None
    """The one that is used if the user names none."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Options that do not depend on the settings: the same frames must give the same bytes on every machine."""
    chroma_sites: tuple[str, ...] = ("left",)
    """Where chroma samples may lie; of what the file cannot say, the first is taken."""
    full_range: bool = True
    """Whether the file can say that values are of full range."""
    matrices: tuple[str, ...] = ()
    """Those that the file can name, if not all; what it cannot is converted with the first of the same weights, or else
    with the first."""
    suffix: str = ".mp4"
    """Of the files that hold its track with exact timestamps."""
    hardware: bool = False

    def pixel_format_for(self, bit_depth: int) -> str | None:
        """Pixel format for a source of so many bits; None if this encoder would lose some of them."""
        return self.deep_pixel_format if bit_depth > 8 else self.pixel_format

    def options(self, settings: EncodeConfig, further: Mapping[str, str] = {}) -> dict[str, str]:
        """Return all options for the encoder; what the user gave stands last, so that it wins.

        Args:
            settings: the user's.
            further: options of this one video.
        """
        options = {"flags": "+frame_duration"}
        quality = self._quality_value(settings.quality)
        preset = settings.preset or self.preset
        for more in (
            self.fixed,
            dict.fromkeys(self.quality_options, quality),
            {"preset": preset} if preset else {},
            further,
            settings.encoder_options,
        ):
            for name, value in more.items():
                joint = _JOINTS.get(name)
                options[name] = options[name] + joint + value if joint is not None and name in options else value
        return options

    def _quality_value(self, quality: int) -> str:
        value = 0.0
        for (left, low), (right, high) in pairwise(self.quality_points):
            if left <= quality <= right:
                value = low + (high - low) * (quality - left) / (right - left)
        return str(int(value)) if self.whole_quality else f"{value:.2f}"


# Options that are lists: what the user gives is added to ours, not put in their place.
_JOINTS = {"flags": "", "x264-params": ":", "x265-params": ":", "svtav1-params": ":"}

# Measured: each gives the PSNR and VMAF of x264 at the same quality (docs/encoding.md).
_X264_POINTS = ((0, 50.0), (100, 0.0))
_X265_POINTS = ((0, 51.0), (25, 38.3), (50, 27.6), (60, 22.8), (72, 15.2), (80, 10.4), (90, 4.8), (100, 0.0))
_SVT_POINTS = ((0, 63.0), (25, 63.0), (50, 47.0), (60, 29.0), (72, 15.0), (80, 9.0), (90, 4.0), (100, 1.0))
# Not measured, for want of the hardware: the scale of these encoders is close to that of x264.
_HARDWARE_POINTS = ((0, 51.0), (50, 27.0), (72, 17.0), (100, 1.0))


def _nvenc(coded: str, scale: float = 1) -> Codec:
    return Codec(
        encoder=f"{coded}_nvenc", format=coded, pixel_format="yuv420p", deep_pixel_format="p010le",
        quality_options=("cq",), quality_points=tuple((q, v * scale) for q, v in _HARDWARE_POINTS),
        presets=_NVENC_PRESETS, preset="p5", fixed={"rc": "vbr", "b": "0"}, hardware=True,
    )  # fmt: skip


def _qsv(coded: str) -> Codec:
    return Codec(
        encoder=f"{coded}_qsv", format=coded, pixel_format="nv12",
        deep_pixel_format=None if coded == "h264" else "p010le",
        quality_options=("global_quality",), quality_points=_HARDWARE_POINTS,
        presets=_QSV_PRESETS, preset="medium", hardware=True,
    )  # fmt: skip


def _amf(coded: str, scale: float = 1) -> Codec:
    return Codec(
        encoder=f"{coded}_amf", format=coded, pixel_format="nv12",
        deep_pixel_format=None if coded == "h264" else "p010le",
        quality_options=("qp_i", "qp_p"), quality_points=tuple((q, v * scale) for q, v in _HARDWARE_POINTS),
        presets=_AMF_PRESETS, preset="quality", fixed={"rc": "cqp"}, hardware=True,
    )  # fmt: skip


def _videotoolbox(coded: str) -> Codec:
    # It takes a quality of its own, 1 to 100, in units of ffmpeg's lambda.
    return Codec(
        encoder=f"{coded}_videotoolbox", format=coded, pixel_format="nv12",
        deep_pixel_format=None if coded == "h264" else "p010le",
        quality_options=("global_quality",), quality_points=((0, 118.0), (100, 11800.0)),
        fixed={"flags": "+qscale"}, hardware=True,
    )  # fmt: skip


CODECS: Final[Mapping[str, Codec]] = {
    "h264": Codec(
        encoder="libx264", format="h264", pixel_format="yuv420p", deep_pixel_format="yuv420p10le",
        quality_options=("crf",), quality_points=_X264_POINTS, whole_quality=False,
        presets=_H26X_PRESETS, preset="medium", chroma_sites=_ALL_SITES,
        # With its macroblock tree, x264 reads memory that it did not write, and makes other bytes from run to run.
        fixed={"threads": "8", "mbtree": "0"},
    ),
    "hevc": Codec(
        encoder="libx265", format="hevc", pixel_format="yuv420p", deep_pixel_format="yuv420p10le",
        quality_options=("crf",), quality_points=_X265_POINTS, whole_quality=False,
        presets=_H26X_PRESETS, preset="medium",
        fixed={"x265-params": "log-level=error:info=0:frame-threads=4:lookahead-slices=0"}, chroma_sites=_ALL_SITES,
    ),
    "av1": Codec(
        encoder="libsvtav1", format="av1", pixel_format="yuv420p", deep_pixel_format="yuv420p10le",
        quality_options=("crf",), quality_points=_SVT_POINTS,
        presets=tuple(map(str, range(14))), preset="4",
        fixed={"svtav1-params": "lp=4", "g": "250"}, chroma_sites=("left", "topleft"),
    ),
    "prores": Codec(
        encoder="prores_ks", format="prores", pixel_format="yuv422p10le", deep_pixel_format="yuv422p10le",
        quality_options=("profile",), quality_points=((0, 0.0), (30, 1.0), (50, 2.0), (70, 3.0), (100, 3.0)),
        fixed={"vendor": "apl0"}, full_range=False, matrices=("bt709", "smpte170m", "bt2020nc"), suffix=".mov",
    ),
    "ffv1": Codec(
        encoder="ffv1", format="ffv1", pixel_format="yuv444p10le", deep_pixel_format="yuv444p12le",
        quality_options=(), fixed={"level": "3", "slices": "16", "slicecrc": "1", "g": "1", "threads": "8"},
    ),
    **{
        codec.encoder: codec
        for codec in (
            _nvenc("h264"), _nvenc("hevc"), _nvenc("av1"),
            _qsv("h264"), _qsv("hevc"), _qsv("av1"),
            _amf("h264"), _amf("hevc"), _amf("av1", scale=5),
            _videotoolbox("h264"), _videotoolbox("hevc"),
        )
    },
}  # fmt: skip


def find_codec(name: str) -> Codec:
    """Entry of a codec; `auto` is taken for h264, see `codec_for`.

    Raises:
        UsageError: there is no such codec.
    """
    name = "h264" if name == AUTO else name
    if name not in CODECS:
        known = {codec.encoder: key for key, codec in CODECS.items()} | {key: key for key in CODECS} | {"h265": "hevc"}
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {known[close[0]]}? " if close else ""
        raise UsageError(f"no encoder {name}: {hint}--codec is one of {', '.join(CODECS)}")
    return CODECS[name]
