"""Whether a file is shorter than its own structure says: what is missing at its end may be sound alone."""

import os

from vsr_pipeline.media.source_bytes import SourceBytes

_MEDIA_BOXES = frozenset({b"moov", b"moof", b"mdat"})
_MOST_BOXES = 1_000_000
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ROUNDING_BYTES = 64
"""By so much sizes in the headers of old AVI files are off in files that are whole."""
_UNKNOWN_RIFF_SIZE = 0xFFFF_FF00


def missing_bytes(file: SourceBytes) -> int:
    """Return how many bytes a file lacks at its end, as far as its format tells: MP4, QuickTime, AVI, Matroska, WebM.

    A box of an MP4 that reaches beyond the end of the file counts if it holds media; free space does not. The position
    in the file is left where it was.

    Raises:
        ReadError: the disk or the network failed.
    """
    before = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.end_packet()  # looking at many boxes may take its time
    try:
        head = _read(file, 0, 16)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            end = int.from_bytes(head[4:8], "little") + 8
            return end - size if size + _ROUNDING_BYTES < end < _UNKNOWN_RIFF_SIZE else 0
        if head[:4] == _EBML:
            return max(0, _end_of_segment(file) - size)
        return max(0, _end_of_boxes(file, size) - size) if head[4:8] == b"ftyp" else 0
    finally:
        file.seek(before)


def _read(file: SourceBytes, place: int, count: int) -> bytes:
    """Return `count` bytes, fewer at the end of the file."""
    file.seek(place)
    data = b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    file.check()
    return data


def _end_of_boxes(file: SourceBytes, size: int) -> int:
    """Where the last box with media ends."""
    place = end = 0
    for _ in range(_MOST_BOXES):
        head = _read(file, place, 16)
        if len(head) < 8:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: to the end of the file
            break
        place += length
        if head[4:8] in _MEDIA_BOXES:
            end = place
        if place >= size:
            break
    return end


def _end_of_segment(file: SourceBytes) -> int:
    """Where the segment of a Matroska file ends; 0 where it does not say."""
    header_length, taken = _ebml_size(_read(file, 4, 8))
    place = 4 + taken + (header_length or 0)
    head = _read(file, place, 12)
    length, taken = _ebml_size(head[4:])
    return place + 4 + taken + length if head[:4] == _SEGMENT and length else 0


def _ebml_size(data: bytes) -> tuple[int | None, int]:
    """A size and how many bytes it takes; None: it is unknown."""
    taken = 9 - data[0].bit_length() if data and data[0] else 9
    if taken > len(data):
        return None, 0
    value = int.from_bytes(data[:taken], "big") & ((1 << 7 * taken) - 1)
    return (None if value == (1 << 7 * taken) - 1 else value), taken
