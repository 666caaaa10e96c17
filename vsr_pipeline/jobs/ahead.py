"""LQ frames of segments, decoded in a thread: the first ones of the next segment while the model is at this one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from vsr_pipeline.clip.footage import FrameSource
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.runtime.prefetch import read_ahead
from vsr_pipeline.timeline import Segment

_DEPTH = 4


class AheadSource:
    """A source that goes on decoding from one segment to the next; a context manager, for one thread.

    Args:
        source: the frames, opened once for all segments.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._thread = ExitStack()
        self._frames: Iterator[Pixels] = iter(())
        self._coming: Segment | None = None
        """Whose first frame comes next; None: the thread has to be started anew."""
        self._lock = threading.Lock()
        self._following: dict[Segment, Segment] = {}
        self._has_ended = True
        """Whether the thread has read all that it knew of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def frames(self, segment: Segment, following: Segment | None) -> Iterator[Pixels]:
        """Yield the frames of a segment's context, fewer where the source ends too early.

        Args:
            segment: which.
            following: the segment that is likely to be asked for next; its first frames are decoded when the last one
                of this one is.

        Raises:
            InputError: one cannot be read.
        """
        if segment != self._coming:
            self.stop()
            self._has_ended = False
            self._frames = self._thread.enter_context(read_ahead(self._chain(segment), _DEPTH))
        self._coming = None
        with self._lock:
            if self._has_ended:
                following = None
            if following is not None:
                self._following[segment] = following
        for index in range(segment.context_start, segment.context_stop):
            pixels = next(self._frames, None)
            if pixels is None:
                return
            if index + 1 == segment.context_stop:
                self._coming = following
            yield pixels

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """Yield the frames `[start, stop)`, and nothing ahead of them.

        Raises:
            InputError: one cannot be read.
        """
        self.stop()
        yield from self._source.read(start, stop)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, changed or dropped so far."""
        return tuple(self._source.notes)

    def _chain(self, first: Segment) -> Iterator[Pixels]:
        segment: Segment | None = first
        while segment is not None:
            yield from self._source.read(segment.context_start, segment.context_stop)
            with self._lock:
                segment = self._following.pop(segment, None)
                self._has_ended = segment is None

    def stop(self) -> None:
        """End the thread, and drop what it has read."""
        self._coming = None
        self._following.clear()
        self._frames = iter(())
        self._thread.close()
