"""Images as frames: in folders, under numbered names, or one alone."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import InputError, OutputError, ResourceError
from vsr_pipeline.media.image_headers import PNG_END, PNG_SIGNATURE, fault_of
from vsr_pipeline.runtime.files import published, read_failure

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""One frame: (H, W, 3), RGB, full range; uint8 is 0..255 and uint16 is 0..65535."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})
WRITTEN_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
"""Of the formats that hold 16 bits."""
_MAY_BE_CMYK = (b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_NUMBER = re.compile(r"%(?:0([1-9]))?d")

# Level 1 is three times faster than the default 6 and a few per cent larger: frames are temporary.
_WRITE_OPTIONS = {
    ".png": (cv2.IMWRITE_PNG_COMPRESSION, 1),
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 95),
}


def frame_name(index: int) -> str:
    """File name of frame `index` in a frames folder."""
    return f"{index:08d}.png"


@dataclass(frozen=True, slots=True)
class ImageTarget:
    """Where frames go as images: all that have `name` with their number in it, or, without a number, one image."""

    folder: Path
    name: str = "%08d.png"

    @property
    def is_frames_folder(self) -> bool:
        """Whether the folder is for these images alone, under the names that all stages use."""
        return self.name == "%08d.png"

    @property
    def is_single(self) -> bool:
        """Whether only one image can go there."""
        return _NUMBER.search(self.name) is None

    def file(self, number: int) -> Path:
        """Return the path of the image with a number."""
        return self.folder / _NUMBER.sub(lambda found: f"{number:0{found[1] or 1}d}", self.name)

    def taken(self) -> Path | None:
        """Return a file that has one of these names already, if there is one."""
        if self.is_single:
            path = self.folder / self.name
            return path if path.exists() else None
        return next(iter(_numbered(self.folder / self.name).values()), None)

    def __str__(self) -> str:
        return str(self.folder if self.is_frames_folder else self.folder / self.name)


def image_target(text: str) -> ImageTarget | None:
    """Read an output of the command line; None: it is the name of a video.

    Images are meant by a folder (one that exists, or a name without a suffix that ends in a separator), by a pattern
    such as `out_%05d.png`, and by the name of one image.
    """
    path = Path(text)
    if path.is_dir() or (text.endswith(("/", "\\")) and not path.suffix):
        return ImageTarget(path)
    return ImageTarget(path.parent, path.name) if path.suffix.lower() in WRITTEN_SUFFIXES else None


def images_of(path: Path) -> dict[int, Path] | None:
    """Return the images that a path means, by their numbers; None: it is not of images, so it is a video.

    It may be a folder, the name of an image, or a pattern such as `shots/frame_%05d.png` that no file is called. The
    images of a folder are numbered from 0, those of a pattern have the numbers in their names.

    Raises:
        InputError: there is none, or it cannot be looked at.
    """
    try:
        return _images_of(path)
    except OSError as error:
        raise read_failure(path, error) from error


def _images_of(path: Path) -> dict[int, Path] | None:
    if path.is_dir():
        return dict(enumerate(list_frames(path)))
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    if path.exists() or _NUMBER.search(path.name) is None:
        return {0: path}
    images = _numbered(path)
    if not images:
        raise InputError(f"no images {path}: there is no file of this name with a number in it")
    return images


def _numbered(pattern: Path) -> dict[int, Path]:
    """Return the files that a pattern names, in the order of their numbers."""
    if not pattern.parent.is_dir():
        return {}
    found = _NUMBER.search(pattern.name)
    assert found is not None
    digits = rf"\d{{{found[1]},}}" if found[1] else r"0|[1-9]\d*"
    before, after = pattern.name[: found.start()], pattern.name[found.end() :]
    name = re.compile(f"{re.escape(before)}({digits}){re.escape(after)}", re.ASCII)
    named = ((name.fullmatch(file.name), file) for file in pattern.parent.iterdir())
    return dict(sorted((int(match[1]), file) for match, file in named if match))


def remove_frames_from(folder: Path, count: int) -> None:
    """Delete the frames of a frames folder that an earlier, longer version of the clip left."""
    for number, path in _numbered(folder / "%08d.png").items():
        if number >= count:
            path.unlink()


def list_frames(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder, in the order of the numbers in their names.

    Raises:
        InputError: the folder is missing or has no images.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    images = images_in(folder)
    if not images:
        allowed = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"no images in {folder}: a frames folder holds one image per frame ({allowed})")
    return images


def images_in(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder, if there are any, in the order of the numbers in their names."""
    images = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return tuple(sorted(images, key=_natural_key))


def _natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort `img2` before `img10`: runs of digits compare as numbers, everything else as text."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], path.name


def numbers_of(images: Sequence[Path]) -> tuple[int, ...]:
    """Return the numbers in the names of images, in order; none where the names differ in more than their number."""
    found = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.name, re.ASCII | re.DOTALL) for path in images]
    around = {(match[1], match[3]) if match else None for match in found}
    return tuple(sorted(int(match[2]) for match in found if match)) if len(around) == 1 else ()


def read_image(path: Path) -> Pixels:
    """Read an image as RGB of its own depth (8 or 16 bits), upright as its EXIF tag says.

    Grey, palettes and CMYK become RGB, transparency is dropped: see `image_losses`.

    Raises:
        InputError: the file is not one whole image that can be decoded, or has another kind of samples.
        ResourceError: it does not fit into memory.
    """
    return _decoded(path, bytes_of_image(path))


def image_losses(path: Path) -> tuple[str, ...]:
    """Say what of an image RGB cannot hold.

    Raises:
        InputError, ResourceError: as `read_image`.
    """
    from vsr_pipeline.media.picture_facts import losses_of  # Pillow, which frames alone do not need

    return losses_of(bytes_of_image(path))


def bytes_of_image(path: Path) -> bytes:
    """Read the file of an image.

    Raises:
        InputError: it cannot be read, or is not one whole image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise read_failure(path, error) from error
    if fault := fault_of(data):
        raise InputError(f"{path} {fault}")
    return data


def _of_cmyk(path: Path, data: bytes) -> Pixels | None:
    """Return the pixels of an image in CMYK; None: it is none."""
    from vsr_pipeline.media.picture_facts import cmyk_as_rgb, opened  # Pillow, which frames alone do not need

    image = opened(BytesIO(data))
    if image is None or image.mode != "CMYK":
        return None
    try:
        return np.array(cmyk_as_rgb(image))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"not an image that can be decoded: {path} ({error})") from error


def _decoded(path: Path, data: bytes) -> Pixels:
    if data.startswith(_MAY_BE_CMYK) and (converted := _of_cmyk(path, data)) is not None:
        return converted
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data else None
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise ResourceError(f"{path} does not fit into memory: make it smaller, or cut it up") from error
        raise InputError(f"not an image that can be decoded: {path} ({' '.join(str(error.err).split())})") from error
    if pixels is None:
        raise InputError(f"not an image that can be decoded: {path}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} has {pixels.dtype} samples; 8- and 16-bit images are supported")
    rgb: Pixels = np.ascontiguousarray(pixels[:, :, ::-1])  # type: ignore[assignment]
    return rgb


def eight_bits(pixels: Pixels) -> Pixels:
    """Return samples in 8 bits, rounded; those that have 8 as they are."""
    return pixels if pixels.itemsize == 1 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def write_image(path: Path, pixels: Pixels) -> None:
    """Write an image of the kind that its name says, so that the name appears only when the file is complete.

    PNG and TIFF keep 16 bits, JPEG and WebP (both of quality 95) have 8.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    suffix = {".jpeg": ".jpg", ".tiff": ".tif"}.get(path.suffix.lower(), path.suffix.lower())
    if suffix not in DEEP_SUFFIXES:
        pixels = eight_bits(pixels)
    try:
        encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _WRITE_OPTIONS.get(suffix, ()))[1]
    except cv2.error as error:
        height, width = pixels.shape[:2]
        raise OutputError(f"{suffix} cannot hold {width}x{height} pixels, for {path}: write .png") from error
    with published(path) as temporary:
        temporary.write_bytes(encoded.data)


def write_png(path: Path, pixels: Pixels) -> None:
    """Write a frame of a frames folder; see `write_image`."""
    assert path.suffix.lower() == ".png", path
    write_image(path, pixels)


def is_whole(path: Path) -> bool:
    """Whether an image that we wrote is there to its end; only of a PNG more than its size is read."""
    if path.suffix.lower() == ".png":
        return png_size(path) is not None
    return path.is_file() and path.stat().st_size > 0


def png_size(path: Path) -> tuple[int, int] | None:
    """(width, height) of a PNG that is complete to its end, else None. Reads 40 bytes, not the picture."""
    try:
        with path.open("rb", buffering=0) as file:  # a buffer would read all of a small picture
            head = file.read(24)
            file.seek(-len(PNG_END), 2)
            tail = file.read()
    except OSError:
        return None
    if len(head) < 24 or not head.startswith(PNG_SIGNATURE) or tail != PNG_END:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height
