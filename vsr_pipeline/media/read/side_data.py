"""What comes with a stream and with a decoded frame: how to turn and crop it, and which display it was made on.

PyAV crashes when it reads side data that has tags of its own, as the colour profile of a PNG has: both are freed twice.
And it gives nothing of a frame that has side data of a kind that it does not know. What it must not see is deleted by
a filter of FFmpeg before; a filter of the same kind tells whether it was there.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import cast

import av.logging
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame

from vsr_pipeline.media.log import listening
from vsr_pipeline.media.read.filters import FilterChain
from vsr_pipeline.timeline import Crop, HdrMetadata

# AVFrameSideDataType: what FFmpeg has had since the list that PyAV knows ends, and room for what it will have.
NEWER = {
    28: "LCEVC",
    29: "VIEW_ID",
    30: "3D_REFERENCE_DISPLAYS",
    31: "EXIF",
    32: "DYNAMIC_HDR_SMPTE_2094_APP5",
    33: "IAMF_MIX_GAIN_PARAM",
    34: "IAMF_DEMIXING_INFO_PARAM",
    35: "IAMF_RECON_GAIN_INFO_PARAM",
    36: "RAW_COLOR_PARAMS",
}
_LAST_NUMBER = 48

_STREAM = re.compile(r"\s*Stream #\d+:(\d+)")
_GROUP = re.compile(r"\s*Stream group #\d+:\d+\S*: (.+?)(?::|$)")
_ENTRY = re.compile(r"\s+(\S.*?)(?:: ?(.*))?$")


class SideDataReader:
    """Reads the side data of frames: FFmpeg's name of each, and the data; None: it is there, but cannot be read."""

    def __init__(self) -> None:
        known = {cast("int", kind.value): kind.name for kind in Type}
        unreadable = [number for number in range(_LAST_NUMBER) if number not in known]
        icc = next(number for number, name in known.items() if name == "ICC_PROFILE")
        self._icc = _only(icc)
        self._newer = {number: _only(number) for number in unreadable}
        self._without_icc = FilterChain(_without(icc))
        self._without_newer = FilterChain(*map(_without, unreadable))

    def __call__(self, frame: VideoFrame) -> Sequence[tuple[str, SideData | None]]:
        """Return what a frame has."""
        found: list[tuple[str, SideData | None]] = []
        if _passes(self._icc, frame):
            found.append((Type.ICC_PROFILE.name, None))
            (frame,) = self._without_icc.push(frame)
        try:
            return [*found, *_pairs(frame)]
        except ValueError:  # a kind that PyAV does not know
            newer = [number for number, chain in self._newer.items() if _passes(chain, frame)]
            found += ((NEWER.get(number, f"number {number}"), None) for number in newer)
            (frame,) = self._without_newer.push(frame)
            return [*found, *_pairs(frame)]


def _pairs(frame: VideoFrame) -> list[tuple[str, SideData | None]]:
    everything = cast("Iterable[SideData]", frame.side_data)  # PyAV's annotations say that it gives keys
    return [(data.type.name, data) for data in everything]


def _only(number: int) -> FilterChain:
    return FilterChain(("sidedata", f"mode=select:type={number}"))


def _without(number: int) -> tuple[str, str]:
    return "sidedata", f"mode=delete:type={number}"


def _passes(chain: FilterChain, frame: VideoFrame) -> bool:
    return any(True for _ in chain.push(frame))


def described(container: InputContainer, stream_index: int) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """What FFmpeg says when it describes a file: a stream's side data with their values, and the file's stream groups.

    PyAV has neither, but it has the description. Names are written without spaces, in small letters: their spelling
    differs between versions.
    """
    with listening(av.logging.INFO):
        # PyAV has this method, but no annotations for it.
        lines = str(container.dumps_format()).splitlines()  # type: ignore[attr-defined]
    side_data: dict[str, str] = {}
    is_wanted, indent = False, 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if found := _STREAM.match(line):
            is_wanted, indent = int(found[1]) == stream_index, 0
        elif is_wanted and line.strip() == "Side data:":
            indent = depth
        elif indent and depth <= indent:
            is_wanted, indent = False, 0
        elif indent and (entry := _ENTRY.match(line)):
            side_data[plain_name(entry[1])] = entry[2] or ""
    return side_data, tuple(found[1] for line in lines if (found := _GROUP.match(line)))


def plain_name(name: str) -> str:
    """Write a name of side data as `described` does."""
    return re.sub(r"[\s_-]", "", name).lower()


def crop_of(side_data: Mapping[str, str], width: int, height: int) -> Crop:
    """Read what the container says is not shown of a picture of this size; nothing where that leaves no picture."""
    numbers = [int(number) for number in re.findall(r"\d+", side_data.get("framecropping", ""))]
    if len(numbers) != 4:
        return Crop()
    crop = Crop(*numbers)
    return crop if crop.left + crop.right < width and crop.top + crop.bottom < height else Crop()


def orientation(frame: VideoFrame, side_data: Mapping[str, SideData | None]) -> tuple[int, bool]:
    """(clockwise degrees, mirrored) that turn a frame upright, from its display matrix, to the nearest right angle.

    The matrix sends a pixel at (x, y), y pointing down, to (a x + c y, b x + d y).
    """
    matrix = _numbers(side_data.get("DISPLAYMATRIX"))
    if len(matrix) != 9:
        return -round(frame.rotation / 90) * 90 % 360, False
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        mirrored = (a < 0) != (d < 0)
        return (180 if d < 0 else 0), mirrored
    mirrored = (b < 0) == (c < 0)
    return (90 if b > 0 else 270), mirrored


def hdr_metadata(side_data: Mapping[str, SideData | None]) -> HdrMetadata | None:
    """Mastering display and content light level of a frame; None where it has neither."""
    primaries = white_point = darkest = brightest = None
    display = _numbers(side_data.get("MASTERING_DISPLAY_METADATA"))
    if len(display) == _DISPLAY_NUMBERS:
        *fractions, has_primaries, has_luminance = display
        red, green, blue, white = ((_fraction(fractions, 4 * n), _fraction(fractions, 4 * n + 2)) for n in range(4))
        if has_primaries:
            primaries, white_point = (red, green, blue), white
        if has_luminance:
            darkest, brightest = _fraction(fractions, 16), _fraction(fractions, 18)
    light = _numbers(side_data.get("CONTENT_LIGHT_LEVEL"))
    max_cll, max_fall = light if len(light) == 2 else (0, 0)
    known = HdrMetadata(primaries, white_point, darkest, brightest, max_cll or None, max_fall or None)
    return None if known == HdrMetadata() else known


# AVMasteringDisplayMetadata: ten fractions and two flags. AVContentLightMetadata: two numbers.
_DISPLAY_NUMBERS = 22


def _fraction(numbers: list[int], index: int) -> Fraction:
    return Fraction(numbers[index], numbers[index + 1] or 1)


def _numbers(data: SideData | None) -> list[int]:
    """The 32-bit numbers that side data is made of; none where there is none."""
    return [] if data is None else np.frombuffer(memoryview(data), dtype=np.int32).tolist()
