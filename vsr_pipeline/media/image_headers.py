"""Faults in the bytes of an image file that decoders do not mind: it is cut off, or holds several pictures."""

import struct

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"

_JPEG_END = b"\xff\xd9"
_TAIL_BYTES = 1 << 16  # cameras write thumbnails and notes behind the end of a JPEG
_ANIMATED = "holds several pictures: give an animated WebP or PNG alone, or one picture per file"
_CUT_OFF = "is cut off"
_NEW_SUBFILE_TYPE, _LONG = 254, 4


def fault_of(data: bytes) -> str | None:
    """Say why an image file is not one whole picture, to follow its name; None where nothing speaks against it."""
    if data.startswith(PNG_SIGNATURE):
        if data.find(b"acTL", 0, data.find(b"IDAT")) >= 0:
            return _ANIMATED
        return None if PNG_END in data[-_TAIL_BYTES:] else _CUT_OFF
    if data.startswith(b"\xff\xd8\xff"):
        return None if _JPEG_END in data[-_TAIL_BYTES:] else _CUT_OFF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if data[12:16] == b"VP8X" and data[20:21] and data[20] & 2:
            return _ANIMATED
        return None if len(data) >= int.from_bytes(data[4:8], "little") + 8 else _CUT_OFF
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _fault_of_tiff(data)
    return None


def _fault_of_tiff(data: bytes) -> str | None:
    """Count the pages of a TIFF; smaller versions of a page are none."""
    order = "<" if data[:2] == b"II" else ">"
    pages, seen = 0, set()
    try:
        (offset,) = struct.unpack_from(f"{order}I", data, 4)
        while offset and offset not in seen:
            seen.add(offset)
            (entries,) = struct.unpack_from(f"{order}H", data, offset)
            tags = [struct.unpack_from(f"{order}HHII", data, offset + 2 + 12 * i) for i in range(entries)]
            pages += not any(tag == _NEW_SUBFILE_TYPE and kind == _LONG and value & 1 for tag, kind, _, value in tags)
            (offset,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * entries)
    except struct.error:
        return _CUT_OFF
    return _ANIMATED if pages > 1 else None
