"""A clip as numbered frames, whether it is a video or a folder of images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.frames import Pixels, png_size, read_image
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.timeline import Timeline


class FrameSource(Protocol):
    """Random access to the frames of a clip, by index."""

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield the frames `[start, stop)`, each (H, W, 3) RGB.

        Raises:
            InputError: one of them cannot be read.
        """
        ...


class FolderSource:
    """The images of a frames folder, which all have one size and depth.

    Raises:
        InputError: the first image cannot be read, or another PNG's header has another size.
    """

    def __init__(self, images: Sequence[Path]) -> None:
        self._images = images
        first = read_image(images[0])
        self.shape: tuple[int, int] = (first.shape[0], first.shape[1])
        self.bit_depth = first.itemsize * 8
        for path in images:
            size = png_size(path) if path.suffix.lower() == ".png" else None
            if size:
                self._check(path, (size[1], size[0]))

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield frames; see `FrameSource`."""
        for path in self._images[start:stop]:
            pixels = read_image(path)
            self._check(path, pixels.shape[:2])
            depth = pixels.itemsize * 8
            if depth != self.bit_depth:
                raise InputError(
                    f"{path} has {depth} bits, the first frame {self.bit_depth}: all frames have one depth"
                )
            yield pixels

    def _check(self, path: Path, shape: tuple[int, ...]) -> None:
        if shape != self.shape:
            height, width = self.shape
            raise InputError(
                f"{path} is {shape[1]}x{shape[0]}, the first frame {width}x{height}: all frames of a clip have one size"
            )


class VideoSource:
    """The frames of a video, found by the timestamps of its timeline. A context manager: it holds the file open."""

    def __init__(self, path: Path, timeline: Timeline) -> None:
        self._reader = VideoReader(path)
        self._timeline = timeline

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield frames; see `FrameSource`."""
        for frame in self._reader.read(self._timeline, start, stop):
            yield frame.pixels

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)
