"""What the file of a picture says beside its pixels, from its header alone, as Pillow reads it."""

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import ExifTags, Image, ImageCms, ImageOps

from vsr_pipeline.runtime.files import read_failure

# Pictures are the user's own, however large: what OpenCV decodes, Pillow may look at.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})
_NO_PICTURE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError)
_PNG_GREY_ALPHA = 4
_EXTRA_SAMPLES, _PREMULTIPLIED = 338, 1  # a tag of TIFF

AlphaKind = Literal["none", "straight", "premultiplied"]


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a picture is; the defaults are a plain RGB picture."""

    is_grey: bool = False
    alpha: AlphaKind = "none"
    """Whether it has transparency, and whether its colours are multiplied by it already."""
    is_cmyk: bool = False
    orientation: int = 1
    """As EXIF numbers it: 1 is upright."""
    profile: bytes = b""
    """Its ICC profile, where that fits to grey or RGB pixels."""
    dpi: tuple[float, float] | None = None

    @property
    def has_alpha(self) -> bool:
        """Whether some of its pixels may be transparent."""
        return self.alpha != "none"


def facts_of(path: Path) -> PictureFacts:
    """Read the facts of a picture; of what Pillow does not know, they are those of a plain one.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _facts_in(file)
    except OSError as error:
        raise read_failure(path, error) from error


def losses_of(data: bytes) -> tuple[str, ...]:
    """Say what of a picture's file is lost when it becomes RGB frames of a video."""
    image = opened(BytesIO(data))
    facts = _facts_in(BytesIO(data))
    losses = []
    if facts.has_alpha:
        losses.append("its transparency is dropped")
    if facts.is_grey:
        losses.append("grey becomes RGB")
    if facts.is_cmyk:
        losses.append("CMYK becomes RGB")
    profile = image.info.get("icc_profile") or b"" if image else b""
    if profile and not facts.is_cmyk and b"sRGB" not in profile:
        losses.append("its colour profile is not applied, sRGB is assumed")
    return tuple(losses)


def picture_losses(facts: PictureFacts) -> tuple[str, ...]:
    """Say what of a picture is changed even when it becomes a picture again."""
    return ("CMYK becomes RGB (sRGB)",) if facts.is_cmyk else ()


def picture_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a picture's file; None: it is none."""
    image = opened(BytesIO(data))
    return image.size if image else None


def opened(file: BinaryIO) -> Image.Image | None:
    """Return a picture whose header was read and whose pixels were not; None: it is none that Pillow knows."""
    try:
        return Image.open(file, formats=_FORMATS)
    except _NO_PICTURE:
        return None


def cmyk_as_rgb(image: Image.Image) -> Image.Image:
    """Decode a CMYK picture, upright: into sRGB by its profile, or, where it has none that can be used, by formula.

    Raises:
        OSError, SyntaxError, ValueError: it cannot be decoded.
    """
    profile = image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image)
    if profile:
        with suppress(ImageCms.PyCMSError):  # it is damaged, or not of CMYK
            srgb = ImageCms.createProfile("sRGB")
            rgb = ImageCms.profileToProfile(upright, BytesIO(profile), srgb, outputMode="RGB")
            assert rgb is not None
            return rgb
    return upright.convert("RGB")


def _facts_in(file: BinaryIO) -> PictureFacts:
    image = opened(file)
    if image is None:
        return PictureFacts()
    is_cmyk = image.mode == "CMYK"
    is_grey = image.mode in _GREY_MODES or (image.format == "PNG" and _png_colour_type(file) == _PNG_GREY_ALPHA)
    exif = _exif_of(image)
    alpha: AlphaKind = "straight" if image.has_transparency_data else "none"
    if alpha != "none" and image.format == "TIFF" and _PREMULTIPLIED in _tags_of(image).get(_EXTRA_SAMPLES, ()):
        alpha = "premultiplied"
    return PictureFacts(
        is_grey=is_grey,
        alpha=alpha,
        is_cmyk=is_cmyk,
        orientation=int(exif.get(ExifTags.Base.Orientation, 1)),
        profile=_fitting_profile(image, b"GRAY" if is_grey else b"RGB "),
        dpi=_dpi_of(image, exif),
    )


def _png_colour_type(file: BinaryIO) -> int:
    """Return what Pillow does not tell: it takes grey with alpha of 16 bits for RGBA."""
    file.seek(25)
    return file.read(1)[0]


def _exif_of(image: Image.Image) -> Image.Exif:
    """Return what is in the header: `getexif` would decode a PNG in search of it."""
    exif = Image.Exif()
    data = image.info.get("exif")
    if image.format == "TIFF":
        exif.update({tag: value for tag, value in _tags_of(image).items() if tag == ExifTags.Base.Orientation})
    elif data:
        try:
            exif.load(data)
        except _NO_PICTURE:
            return Image.Exif()
    return exif


def _tags_of(image: Image.Image) -> dict[int, tuple[int, ...]]:
    return dict(getattr(image, "tag_v2", {}))


def _fitting_profile(image: Image.Image, space: bytes) -> bytes:
    profile = image.info.get("icc_profile") or b""
    return profile if isinstance(profile, bytes) and profile[16:20] == space else b""


def _dpi_of(image: Image.Image, exif: Image.Exif) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    if dpi is None and exif.get(ExifTags.Base.ResolutionUnit) == 2:
        dpi = (exif.get(ExifTags.Base.XResolution), exif.get(ExifTags.Base.YResolution))
    try:
        horizontal, vertical = map(float, dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (horizontal, vertical) if min(horizontal, vertical) > 1 else None  # programs write 1 where they know none
