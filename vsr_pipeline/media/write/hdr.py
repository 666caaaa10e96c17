"""What a source says about the display it was mastered on: into the encoder, and into the header of an MP4 file."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.timeline import HdrMetadata

# Units of SMPTE ST 2086 in bitstreams and boxes.
_CHROMATICITY = 50_000
_LUMINANCE = 10_000


def encoder_hdr_options(encoder: str, hdr: HdrMetadata | None) -> dict[str, str]:
    """Options that make an encoder write the metadata into its stream; none for those that cannot."""
    if hdr is None or encoder not in ("libx265", "libsvtav1"):
        return {}
    x265 = encoder == "libx265"
    words = []
    display = _display(hdr)
    if display:
        # x265 counts in the stream's units, SVT-AV1 takes plain numbers.
        numbers = [_rounded(v, unit) if x265 else f"{float(v):.6f}" for v, unit in display]
        red, green, blue, white, light = (",".join(map(str, numbers[i : i + 2])) for i in range(0, 10, 2))
        name = "master-display" if x265 else "mastering-display"
        words.append(f"{name}=G({green})B({blue})R({red})WP({white})L({light})")
    if hdr.max_cll is not None or hdr.max_fall is not None:
        words.append(f"{'max-cll' if x265 else 'content-light'}={hdr.max_cll or 0},{hdr.max_fall or 0}")
    return {"x265-params" if x265 else "svtav1-params": ":".join(words)} if words else {}


def _display(hdr: HdrMetadata) -> list[tuple[Fraction, int]]:
    """x, y of red, green, blue and white, largest and least luminance, each with its unit; empty if one is missing."""
    if hdr.primaries is None or hdr.white_point is None or hdr.min_luminance is None or hdr.max_luminance is None:
        return []
    points = [value for point in (*hdr.primaries, hdr.white_point) for value in point]
    return [(v, _CHROMATICITY) for v in points] + [(v, _LUMINANCE) for v in (hdr.max_luminance, hdr.min_luminance)]


def _rounded(value: Fraction, unit: int) -> int:
    return round(value * unit)


def write_hdr_boxes(path: Path, hdr: HdrMetadata) -> None:
    """Add the boxes `mdcv` and `clli` to the first track of an .mp4 or .mov whose header is at its end.

    FFmpeg writes them for a stream that comes from a file with such boxes, but PyAV has no way to set them.

    Raises:
        OutputError, ResourceError: the file cannot be written.
    """
    try:
        with path.open("r+b") as file:
            start = _start_of_header(file)
            file.seek(start)
            header = _with_boxes(file.read(), _PATH, _boxes(hdr))
            file.seek(start)
            file.write(header)
    except OSError as error:
        raise write_failure(path, error) from error


def _boxes(hdr: HdrMetadata) -> bytes:
    boxes = b""
    display = [_rounded(value, unit) for value, unit in _display(hdr)]
    if display:
        red, green, blue, rest = display[0:2], display[2:4], display[4:6], display[6:]
        boxes += struct.pack(">I4s8H2I", 32, b"mdcv", *green, *blue, *red, *rest)
    if hdr.max_cll is not None or hdr.max_fall is not None:
        boxes += struct.pack(">I4s2H", 12, b"clli", hdr.max_cll or 0, hdr.max_fall or 0)
    return boxes


# Where sample entries are; what is in a sample description is named by its codec, so any is taken.
_PATH = (b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"")


def _start_of_header(file: BinaryIO) -> int:
    at = 0
    while len(head := file.read(16)) >= 8:
        size, kind = struct.unpack(">I4s", head[:8])
        if kind == b"moov":
            return at
        at += struct.unpack(">Q", head[8:])[0] if size == 1 else size
        file.seek(at)
    raise ValueError("the file has no header")


def _with_boxes(box: bytes, path: tuple[bytes, ...], boxes: bytes) -> bytes:
    """Copy of a box with `boxes` at the end of what `path` leads to, and all sizes on the way made right."""
    if not path:
        return _resized(box + boxes)
    at = 16 if box[4:8] == b"stsd" else 8
    while at < len(box):
        size, kind = struct.unpack(">I4s", box[at : at + 8])
        if kind.startswith(path[0]):
            return _resized(box[:at] + _with_boxes(box[at : at + size], path[1:], boxes) + box[at + size :])
        at += size
    raise ValueError(f"the file's header has no {path[0]!r}")


def _resized(box: bytes) -> bytes:
    return struct.pack(">I", len(box)) + box[4:]
