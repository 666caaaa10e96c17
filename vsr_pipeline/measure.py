"""`vsr metrics`: compare two clips, each a video or a folder of images."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

import cv2

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.frames import Pixels, list_frames, read_image
from vsr_pipeline.media.reader import VideoReader
from vsr_pipeline.metrics import Scores, score


def measure(reference: Path, distorted: Path) -> Scores:
    """Compare two clips of equally many frames.

    A distorted clip of another size is enlarged first, by bicubic interpolation: an LQ clip scores as bicubic would.

    Raises:
        InputError: one cannot be read, or the counts of frames differ.
    """
    with ExitStack() as stack:
        return score(_pairs(reference, distorted, stack))


def _pairs(reference: Path, distorted: Path, stack: ExitStack) -> Iterator[tuple[Pixels, Pixels]]:
    for index, (a, b) in enumerate(zip_longest(_frames(reference, stack), _frames(distorted, stack))):
        if a is None or b is None:
            shorter = reference if a is None else distorted
            raise InputError(f"{shorter} ends after {index} frames, the other goes on: compare clips of equal length")
        yield a, b if b.shape == a.shape else _enlarged(b, a.shape[1], a.shape[0])


def _frames(path: Path, stack: ExitStack) -> Iterator[Pixels]:
    if path.is_dir():
        return (read_image(image) for image in list_frames(path))
    return (frame.pixels for frame in stack.enter_context(VideoReader(path)))


def _enlarged(pixels: Pixels, width: int, height: int) -> Pixels:
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]
