"""Frames on their way into files: encoded, checked and published in a thread, while the model is at the next ones."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.streams.join import check_frames
from vsr_pipeline.media.write.conversion import Planes, YuvConversion
from vsr_pipeline.media.write.writer import VideoWriter, colour_to_write, conversion_to
from vsr_pipeline.plan import Schedule
from vsr_pipeline.runtime.files import published
from vsr_pipeline.runtime.prefetch import WriteBehind
from vsr_pipeline.timeline import Tint

_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the frames of a clip become files; plain data."""

    footage: Footage
    geometry: Geometry
    schedule: Schedule
    encode: EncodeConfig

    @property
    def conversion(self) -> YuvConversion:
        """From RGB to what is encoded."""
        info = self.footage.header.info
        return conversion_to(self.encode, colour_to_write(info), info.bit_depth)


class _CancelledError(Exception):
    """Nobody waits for the part any more."""


class PartWriter:
    """A file of consecutive frames. It appears under its name when it is complete, verified and on disk.

    `wait` or `abandon` must be called at the end: a thread is at work until then.

    Args:
        encoding: how.
        path: the file.
        frames: which frames of the clip go into it; at least one of them is shown.

    Raises:
        OutputError, ResourceError: as `VideoWriter`.
    """

    def __init__(self, encoding: Encoding, path: Path, frames: range) -> None:
        self.frames = frames
        self._path = path
        self._schedule = encoding.schedule
        self._cancelled = threading.Event()
        self._writes = WriteBehind(threads=1, depth=_DEPTH)
        self._places: dict[int, list[int]] = {}
        for place in self._schedule.shows(frames):
            self._places.setdefault(self._schedule.frames[place], []).append(place)
        self._open = ExitStack()
        try:
            temporary = self._open.enter_context(published(path))
            self._open.enter_context(self._checked(temporary))
            self._writer = self._open.enter_context(_video_writer(encoding, temporary))
        except BaseException as error:
            self._open.__exit__(type(error), error, error.__traceback__)
            raise

    def write(self, index: int, pixels: Pixels | Planes, tint: Tint | None) -> None:
        """Encode a frame soon, as often as it is shown.

        Raises:
            OutputError, ResourceError: an earlier one could not be written.
        """
        for place in self._places.get(index, ()):
            pts, duration = self._schedule.pts[place], self._schedule.duration(place)
            self._writes.call(partial(self._writer.write, pts, pixels, duration=duration, tint=tint))

    def end(self, then: Callable[[Path], None]) -> None:
        """Let the file be completed: all its frames were given.

        Args:
            then: is called with the file, in the thread, when it is there.

        Raises:
            OutputError, ResourceError: one of them could not be written.
        """
        self._writes.call(partial(self._complete, then))

    @property
    def is_done(self) -> bool:
        """Whether `wait` would not have to wait."""
        return self._writes.is_done

    def wait(self) -> None:
        """Wait until the file is there.

        Raises:
            OutputError: it cannot be written, or the encoder gave a damaged file.
            ResourceError: the disk is full.
        """
        try:
            self._writes.flush()
        except BaseException:
            self._cancelled.set()  # a signal came: it is abandoned next
            raise
        with self._writes:
            pass  # its thread ends

    def abandon(self, error: BaseException) -> None:
        """Stop as soon as possible, and delete what is there of the file."""
        self._cancelled.set()
        about = (type(error), error, error.__traceback__)
        self._writes.__exit__(*about)
        self._open.__exit__(*about)

    def _complete(self, then: Callable[[Path], None]) -> None:
        with self._open.pop_all():
            pass  # the encoder gives what it holds back, the file is checked, synced and renamed
        then(self._path)

    @contextmanager
    def _checked(self, temporary: Path) -> Iterator[None]:
        yield
        try:
            check_frames(
                temporary, self._schedule.times_of(self.frames), decode=True, on_frame=self._stop_where_cancelled
            )
        except InputError as error:
            raise OutputError(f"the encoder gave a damaged segment: {error}") from error

    def _stop_where_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise _CancelledError


class PartsWriter:
    """Consecutive frames into one file after the other.

    `wait` or `abandon` must be called at the end.

    Args:
        encoding: how.
        parts: the files, and which frames go into each, in order.
        then: is called with a part's frames and file when that is there, in a thread, one part after the other.
        overlap: whether one may still be verified while the next is written; else `write` waits.
    """

    def __init__(
        self,
        encoding: Encoding,
        parts: Sequence[tuple[range, Path]],
        then: Callable[[range, Path], None],
        *,
        overlap: bool,
    ) -> None:
        self._encoding = encoding
        self._left = deque(parts)
        self._then = then
        self._overlap = overlap
        self._now: PartWriter | None = None
        self._behind: PartWriter | None = None

    def write(self, index: int, pixels: Pixels | Planes, tint: Tint | None) -> None:
        """Encode the next frame soon.

        Raises:
            OutputError, ResourceError: an earlier one could not be written, or its file is damaged.
        """
        if self._now is None:
            frames, path = self._left.popleft()
            self._now = PartWriter(self._encoding, path, frames)
        self._now.write(index, pixels, tint)
        if self._behind is not None and self._behind.is_done:
            self._settle()
        if index + 1 == self._now.frames.stop:
            self._settle()
            self._now.end(partial(self._then, self._now.frames))
            self._now, self._behind = None, self._now
            if not self._overlap:
                self._settle()

    def wait(self) -> None:
        """Wait until all files are there.

        Raises:
            OutputError: one cannot be written, or the encoder gave a damaged file.
            ResourceError: the disk is full.
        """
        self._settle()

    def abandon(self, error: BaseException) -> None:
        """Stop as soon as possible, and delete what is there of unfinished files."""
        for part in (self._now, self._behind):
            if part is not None:
                part.abandon(error)

    def _settle(self) -> None:
        if self._behind is not None:
            self._behind.wait()
            self._behind = None


def _video_writer(encoding: Encoding, path: Path) -> VideoWriter:
    info, geometry = encoding.footage.header.info, encoding.geometry
    width, height = geometry.output_size
    return VideoWriter(
        path,
        width=width,
        height=height,
        time_base=encoding.schedule.time_base,
        frame_rate=encoding.encode.constant_rate or encoding.footage.average_frame_rate,
        colour=colour_to_write(info),
        sample_aspect_ratio=geometry.sample_aspect_ratio,
        bit_depth=info.bit_depth,
        hdr=info.hdr,
        settings=encoding.encode,
    )
