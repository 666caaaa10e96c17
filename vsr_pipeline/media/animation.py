"""Images that move, in WebP and PNG: clips without a video's container. PyAV reads no animated WebP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.image_headers import PNG_END, PNG_SIGNATURE
from vsr_pipeline.media.images import Pixels

_HEAD_BYTES = 1 << 16
_USUAL_MILLISECONDS = 100  # what browsers take for a frame that says 0


@dataclass(frozen=True, slots=True)
class Animation:
    """All frames of an animated image, (H, W, 3) RGB, and how many milliseconds each is shown."""

    frames: tuple[Pixels, ...]
    milliseconds: tuple[int, ...]
    has_alpha: bool


class AnimationSource:
    """Some frames of an animation, by index; see `FrameSource`."""

    notes: Sequence[str] = ()

    def __init__(self, frames: Sequence[Pixels]) -> None:
        self._frames = frames

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield frames; see `FrameSource`."""
        yield from self._frames[start:stop]


def is_animation(path: Path) -> bool:
    """Whether a file is a WebP or PNG image of several frames, by its first bytes; one that cannot be read is none."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if head.startswith(PNG_SIGNATURE):
        return head.find(b"acTL", 0, head.find(b"IDAT")) >= 0
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:21]) and bool(head[20] & 2)


def read_animation(path: Path) -> Animation:
    """Decode all frames of an animated WebP or PNG, each as it is shown.

    Raises:
        InputError: it cannot be read, or is cut off.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    is_png = data.startswith(PNG_SIGNATURE)
    if not data.endswith(PNG_END) if is_png else len(data) < int.from_bytes(data[4:8], "little") + 8:
        raise InputError(f"{path} is cut off")
    try:
        is_decoded, animation = cv2.imdecodeanimation(np.frombuffer(data, np.uint8))
    except cv2.error as error:
        raise InputError(f"not an image that can be decoded: {path} ({' '.join(str(error.err).split())})") from error
    if not is_decoded or not animation.frames:
        raise InputError(f"not an image that can be decoded: {path}")
    # OpenCV gives 8 bits, whatever the file has.
    frames = tuple(np.ascontiguousarray(frame[:, :, 2::-1]).astype(np.uint8) for frame in animation.frames)
    milliseconds = tuple(int(time) if time > 0 else _USUAL_MILLISECONDS for time in np.ravel(animation.durations))
    return Animation(frames, milliseconds, has_alpha=animation.frames[0].shape[2] == 4)
