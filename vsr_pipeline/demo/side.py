"""One side of the slide-wipe video: a video or a folder of images."""

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.clip.folder import FolderSource
from vsr_pipeline.media.images import Pixels, list_frames, read_image
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.timeline import VideoInfo


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison: a folder of images (`info` is None) or a video (`images` is empty)."""

    path: Path
    images: tuple[Path, ...]
    info: VideoInfo | None
    width: int
    height: int

    @classmethod
    def open(cls, path: Path) -> "Side":
        """Raise InputError where the path is missing, or neither a folder of images nor a video."""
        if path.is_dir():
            images = list_frames(path)
            height, width = read_image(images[0]).shape[:2]
            return cls(path, images, None, width, height)
        info = probe(path)
        return cls(path, (), info, *info.display_size)

    @property
    def frame_rate(self) -> Fraction | None:
        """Average frames per second; None for a folder, which has none."""
        return self.info.average_frame_rate if self.info else None

    def frames(self) -> Generator[Pixels, None, None]:
        """Yield all frames in order."""
        if self.info is None:
            yield from FolderSource(self.images).read(0, len(self.images))
        else:
            with VideoReader(self.path) as reader:
                for frame in reader:
                    yield frame.pixels

    def count_frames(self) -> int:
        """Count by decoding: what a video's header says is not always true."""
        return len(self.images) or sum(1 for _ in self.frames())
