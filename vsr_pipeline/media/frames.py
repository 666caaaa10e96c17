"""Folders of images: the form that frames have between `vsr split`, `vsr enhance` and `vsr merge`."""

import re
import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import InputError
from vsr_pipeline.files import published

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""One frame: (H, W, 3), RGB, full range; uint8 is 0..255 and uint16 is 0..65535."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def frame_name(index: int) -> str:
    """File name of frame `index` in a frames folder."""
    return f"{index:08d}.png"


def list_frames(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder, in the order of the numbers in their names.

    Raises:
        InputError: the folder is missing or has no images.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not images:
        allowed = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"no images in {folder}: a frames folder holds one image per frame ({allowed})")
    return tuple(sorted(images, key=_natural_key))


def _natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort `img2` before `img10`: runs of digits compare as numbers, everything else as text."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], path.name


def read_image(path: Path) -> Pixels:
    """Read an image as RGB of its own depth (8 or 16 bits); grey becomes RGB, transparency is dropped.

    Raises:
        InputError: the file is no image that can be decoded, or has another kind of samples.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    if pixels is None:
        raise InputError(f"not an image that can be decoded: {path}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} has {pixels.dtype} samples; 8- and 16-bit images are supported")
    rgb: Pixels = np.ascontiguousarray(pixels[:, :, ::-1])  # type: ignore[assignment]
    return rgb


def write_png(path: Path, pixels: Pixels) -> None:
    """Write an image so that the name appears only when the file is complete.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    # Level 1 is three times faster than the default 6 and a few per cent larger: frames are temporary.
    encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    with published(path) as temporary:
        temporary.write_bytes(encoded.data)


def png_size(path: Path) -> tuple[int, int] | None:
    """(width, height) of a PNG that is complete to its end, else None. Reads 40 bytes, not the picture."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
            file.seek(-len(_PNG_END), 2)
            tail = file.read()
    except OSError:
        return None
    if len(head) < 24 or not head.startswith(_PNG_SIGNATURE) or tail != _PNG_END:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height
