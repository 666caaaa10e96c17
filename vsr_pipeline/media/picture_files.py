"""Pictures with all that they have: read with their alpha, written as grey, with alpha, profile and resolution."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.alpha import Plane, is_opaque, on_white, straight
from vsr_pipeline.media.images import DEEP_SUFFIXES, Pixels, bytes_of_image, eight_bits, read_image, write_image
from vsr_pipeline.media.picture_facts import PictureFacts, facts_of, opened
from vsr_pipeline.runtime.files import published

_FORMAT_OF = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
_LARGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_OPTIONS: dict[str, dict[str, Any]] = {  # as `write_image` has them
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_lzw"},
}
_INCHES_PER_METRE = 1 / 0.0254
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour types by the number of channels
_DEFLATE, _DIFFERENCES, _BLACK_IS_ZERO, _RGB, _UNASSOCIATED, _INCH = 8, 2, 1, 2, 2, 2


def read_with_alpha(path: Path) -> tuple[Pixels, Plane]:
    """Read a picture as RGB (H, W, 3) and alpha (H, W), both of its own depth, upright.

    Raises:
        InputError, ResourceError: as `read_image`.
    """
    facts = facts_of(path)
    pixels = read_image(path)
    if not facts.has_alpha:
        return pixels, np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
    data = bytes_of_image(path)
    if pixels.itemsize == 2:
        return _deep_with_alpha(data, pixels, facts)
    image = opened(BytesIO(data))
    try:
        assert image is not None
        rgba = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"not an image that can be decoded: {path} ({error})") from error
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])


def is_translucent(path: Path) -> bool:
    """Whether something of a picture is transparent; only of one that has alpha more than the header is read.

    Raises:
        InputError, ResourceError: as `read_image`.
    """
    return facts_of(path).has_alpha and not is_opaque(read_with_alpha(path)[1])


def _deep_with_alpha(data: bytes, pixels: Pixels, facts: PictureFacts) -> tuple[Pixels, Plane]:
    """Take the alpha of 16 bits, which Pillow does not read, by OpenCV, which does not turn all upright with it."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim < 3 or decoded.shape[2] != 4:
        return pixels, _all_but_one_grey(data, pixels)
    bgra = decoded if data.startswith((b"II", b"MM")) else _upright(decoded, facts.orientation)
    colours: Pixels = np.ascontiguousarray(bgra[..., 2::-1])
    alpha: Plane = np.ascontiguousarray(bgra[..., 3])
    return straight(colours, alpha) if facts.alpha == "premultiplied" else colours, alpha


def _all_but_one_grey(data: bytes, pixels: Pixels) -> Plane:
    """Return an alpha (H, W) where the one value that a grey PNG calls transparent is so, if it names one."""
    image = opened(BytesIO(data))
    transparent = image.info.get("transparency") if image else None
    top = np.iinfo(pixels.dtype).max
    alpha: Plane = np.where(pixels[..., 0] == (-1 if transparent is None else transparent), 0, top).astype(np.uint16)
    return alpha


def _upright(picture: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn a picture as its EXIF orientation, 1 to 8, says."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return picture[:, ::-1] if orientation in (2, 3, 6, 7) else picture


def losses_as(facts: PictureFacts, bit_depth: int, path: Path) -> tuple[str, ...]:
    """Say in one sentence what of a picture the format of a name cannot hold, and what becomes of it."""
    name = _FORMAT_OF[path.suffix.lower()]
    losses = []
    if facts.has_alpha and name == "JPEG":
        losses.append("it is laid on white, because JPEG has no transparency")
    if bit_depth > 8 and path.suffix.lower() not in DEEP_SUFFIXES:
        losses.append(f"16 bits become 8, which is what {name} has")
    if facts.is_grey and not _holds_grey(name, bit_depth, has_alpha=facts.has_alpha):
        losses.append(f"grey becomes RGB, as {name} has it")
    return (f"{'; '.join(losses)} (PNG keeps all)",) if losses else ()


def _holds_grey(name: str, bit_depth: int, *, has_alpha: bool) -> bool:
    """Whether a format has grey pictures, and programs that read them: of TIFF with 16 bits and alpha, none does."""
    return name != "WEBP" and not (name == "TIFF" and bit_depth > 8 and has_alpha)


def refuse_too_large_for(path: Path, size: tuple[int, int]) -> None:
    """Refuse a picture that the format of its name cannot hold.

    Raises:
        OutputError: a side is too long.
    """
    name = _FORMAT_OF[path.suffix.lower()]
    largest = _LARGEST_SIDE.get(name)
    if largest is not None and max(size) > largest:
        raise OutputError(
            f"{path} would be {size[0]}x{size[1]}, a side of {name} has {largest} pixels at most: write .png"
        )


def write_picture(path: Path, pixels: Pixels, alpha: Plane | None, facts: PictureFacts) -> None:
    """Write a picture of the kind that its source was, as far as the format of the name can hold that.

    A plain one is written as `write_image` does. Transparency is laid on white for JPEG.

    Args:
        path: its name says the format.
        pixels: (H, W, 3); of a grey one, all channels are equal.
        alpha: (H, W), of the same type; None: it has none.
        facts: of the source.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    name = _FORMAT_OF[path.suffix.lower()]
    if alpha is not None and name == "JPEG":
        pixels, alpha = on_white(pixels, alpha), None
    if path.suffix.lower() not in DEEP_SUFFIXES:
        pixels, alpha = eight_bits(pixels), None if alpha is None else eight_bits(alpha)
    is_grey = facts.is_grey and _holds_grey(name, 8 * pixels.itemsize, has_alpha=alpha is not None)
    profile = facts.profile if is_grey == facts.is_grey else b""
    if alpha is None and not (is_grey or profile or facts.dpi):
        write_image(path, pixels)
        return
    colours = pixels[..., :1] if is_grey else pixels
    channels = np.dstack([colours] if alpha is None else [colours, alpha])
    if channels.itemsize == 2:
        data = (_deep_png if name == "PNG" else _deep_tiff)(channels, profile, facts.dpi)
    else:
        data = _by_pillow(path, channels, profile, facts.dpi)
    with published(path) as temporary:
        temporary.write_bytes(data)


def _by_pillow(path: Path, channels: npt.NDArray[Any], profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    name = _FORMAT_OF[path.suffix.lower()]
    options = dict(_OPTIONS[name])
    if profile:
        options["icc_profile"] = profile
    if dpi and name == "WEBP":
        exif = Image.Exif()
        tags = ExifTags.Base
        resolution = {tags.XResolution: dpi[0], tags.YResolution: dpi[1], tags.ResolutionUnit: _INCH}
        exif.update({int(tag): value for tag, value in resolution.items()})
        options["exif"] = exif
    elif dpi:
        options["dpi"] = dpi
    file = BytesIO()
    try:
        Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels).save(file, name, **options)
    except (OSError, ValueError, struct.error) as error:
        height, width = channels.shape[:2]
        raise OutputError(f"{name} cannot hold {width}x{height} pixels, for {path} ({error}): write .png") from error
    return file.getvalue()


def _deep_png(channels: npt.NDArray[Any], profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Encode (H, W, C) of 16 bits: Pillow writes them in grey only, OpenCV without a profile."""
    height, width, count = channels.shape
    rows = np.ascontiguousarray(channels.astype(">u2")).view(np.uint8).reshape(height, -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])  # filter 2: the difference to the row above
    file = BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[count], 0, 0, 0))
    if profile:
        PngImagePlugin.putchunk(file, b"iCCP", b"ICC Profile\0\0", zlib.compress(profile))
    if dpi:
        per_metre = (round(side * _INCHES_PER_METRE) for side in dpi)
        PngImagePlugin.putchunk(file, b"pHYs", struct.pack(">IIB", *per_metre, 1))
    PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(filtered.tobytes(), 1))
    PngImagePlugin.putchunk(file, b"IEND")
    return file.getvalue()


def _deep_tiff(channels: npt.NDArray[Any], profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Encode grey, RGB or RGBA (H, W, C) of 16 bits in one strip, as differences along the rows, deflated."""
    height, width, count = channels.shape
    before = np.hstack([np.zeros_like(channels[:, :1]), channels[:, :-1]])
    strip = zlib.compress((channels - before).astype("<u2").tobytes(), 1)
    tags = ImageFileDirectory_v2()
    tags[256], tags[257], tags[258], tags[259] = width, height, (16,) * count, _DEFLATE
    tags[262] = _RGB if count >= 3 else _BLACK_IS_ZERO
    tags[273], tags[277], tags[278], tags[279] = 0, count, height, len(strip)
    tags[284], tags[317] = 1, _DIFFERENCES
    if dpi:
        tags[282], tags[283], tags[296] = *dpi, _INCH
    if count == 4:
        tags[338] = _UNASSOCIATED
    if profile:
        tags.tagtype[34675] = 7  # bytes, which Pillow would take for text
        tags[34675] = profile
    file = BytesIO()
    tags.save(file)
    file.write(strip)
    return file.getvalue()
