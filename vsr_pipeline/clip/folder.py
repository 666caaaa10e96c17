"""The images of a folder as numbered frames."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.alpha import premultiplied
from vsr_pipeline.media.images import Pixels, png_size, read_image
from vsr_pipeline.media.picture_files import is_translucent, read_with_alpha
from vsr_pipeline.timeline import VideoInfo


class FolderSource:
    """Images, which all have one size and depth.

    Args:
        images: the files.
        info: what they are, where `check_headers` has seen them. None: as the first of them is; the others' headers are
            compared with it.
        multiplies_alpha: give images that are not opaque as colours times alpha, in 16 bits, and with them all that are
            asked for at once; else their colours alone.

    Raises:
        InputError: the first image cannot be read, or another PNG's header has another size.
    """

    notes: Sequence[str] = ()

    def __init__(
        self, images: Sequence[Path], info: VideoInfo | None = None, *, multiplies_alpha: bool = False
    ) -> None:
        self._images = images
        self._multiplies_alpha = multiplies_alpha
        if info is None:
            first = read_image(images[0])
            self.shape: tuple[int, int] = (first.shape[0], first.shape[1])
            self.bit_depth = first.itemsize * 8
            self.check_headers()
        else:
            self.shape, self.bit_depth = (info.height, info.width), info.bit_depth

    def check_headers(self) -> None:
        """Compare the sizes in the headers of PNGs, before any of them is decoded.

        Raises:
            InputError: one of them has another size.
        """
        for path in self._images:
            size = png_size(path) if path.suffix.lower() == ".png" else None
            # An EXIF orientation may turn it sideways; whether it does shows when it is read.
            if size and size != self.shape:
                self._check(path, (size[1], size[0]))

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield frames; see `FrameSource` in `footage.py`."""
        files = self._images[start:stop]
        multiplies = self._multiplies_alpha and any(map(is_translucent, files))
        for path in files:
            pixels, alpha = read_with_alpha(path) if multiplies else (read_image(path), None)
            self._check(path, pixels.shape[:2])
            depth = pixels.itemsize * 8
            if depth != self.bit_depth:
                raise InputError(
                    f"{path} has {depth} bits, the first frame {self.bit_depth}: all frames have one depth"
                )
            yield pixels if alpha is None else premultiplied(pixels, alpha)

    def _check(self, path: Path, shape: tuple[int, ...]) -> None:
        if shape != self.shape:
            height, width = self.shape
            raise InputError(
                f"{path} is {shape[1]}x{shape[0]}, the first frame {width}x{height}: all frames of a clip have one "
                "size; for a folder of pictures of their own, `vsr run --each` enhances each by itself"
            )
