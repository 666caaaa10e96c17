"""What the bytes of an image file say, and a decoder that gives RGB does not: faults, and what RGB leaves out."""

import struct

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"

_JPEG_END = b"\xff\xd9"
_TAIL_BYTES = 1 << 16  # cameras write thumbnails and notes behind the end of a JPEG
_HEAD_BYTES = 1 << 17
_COLOUR_PROFILES = (b"iCCP", b"ICC_PROFILE\0")
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


def losses_of(data: bytes, channels: int) -> tuple[str, ...]:
    """Say what of an image is lost when it becomes RGB; `channels` are those of the decoded picture as it is."""
    losses = []
    if channels in (2, 4):
        losses.append("its transparency is dropped")
    if channels == 1:
        losses.append("grey becomes RGB")
    if data.startswith(b"\xff\xd8\xff") and _jpeg_components(data) == 4:
        losses.append("CMYK becomes RGB")
    head = data[:_HEAD_BYTES]
    if any(mark in head for mark in _COLOUR_PROFILES) and b"sRGB" not in head:
        losses.append("its colour profile is not applied, sRGB is assumed")
    return tuple(losses)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that the frame header of a JPEG announces; None where there is none."""
    header = _jpeg_frame_header(data)
    return (int.from_bytes(header[3:5], "big"), int.from_bytes(header[1:3], "big")) if header else None


def _jpeg_components(data: bytes) -> int:
    """Number of components that the frame header of a JPEG announces; 0 where there is none."""
    header = _jpeg_frame_header(data)
    return header[5] if header else 0


def _jpeg_frame_header(data: bytes) -> bytes:
    """Depth, height, width and number of components, in 6 bytes; empty where a JPEG has no frame header."""
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[position + 4 : position + 10]
        position += 2 + length
    return b""


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
