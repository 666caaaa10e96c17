"""Frames of a video file as upright RGB arrays with exact timestamps."""

from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from vsr_pipeline.config import InputConfig
from vsr_pipeline.media.contents import Contents
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.read.cursor import TimedFrame
from vsr_pipeline.media.read.decode import FrameSource
from vsr_pipeline.media.read.interlace import deinterlaced
from vsr_pipeline.media.read.pixels import RgbConverter
from vsr_pipeline.media.read.probe import look_into
from vsr_pipeline.timeline import Timeline, VideoInfo


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: `pts` in ticks of the stream's time base, pixels (H, W, 3), upright RGB, uint8 or uint16."""

    pts: int
    pixels: Pixels

    def __repr__(self) -> str:
        return f"Frame(pts={self.pts}, pixels={self.pixels.dtype}{list(self.pixels.shape)})"


class VideoReader:
    """Reads the frames of a video file, all of them as coded or a part as a timeline says, in presentation order.

    Every frame that the decoder gives is there: what an edit list hides is not, what is damaged is as far as it can be
    decoded. Timestamps increase strictly (`_clock.Clock` says how missing and repeated ones are repaired). Sources of 8
    bits give uint8, deeper ones uint16 over its full range. Frames of another size than `info` says are scaled to it.
    `read` goes on in the file where an earlier call ended, if that is near. Leaving the `with` block closes the file.

    Args:
        path: the file, which is opened when frames are read.
        settings: how it is read.
        known: what `look_into` has found out about it. None: it is found out now.

    Raises:
        InputError: as `look_into`.
    """

    def __init__(
        self,
        path: Path,
        settings: InputConfig = InputConfig(),
        known: tuple[VideoInfo, Contents] | None = None,
    ) -> None:
        self.info, contents = known or look_into(path, settings)
        self.notes: list[str] = []
        """What was assumed, changed or dropped, in plain sentences, each once."""
        self._source = FrameSource(path, settings.video_stream, clock_may_jump=contents.clock_may_jump)
        self._open_iterators: WeakSet[Generator[Frame]] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for frames in tuple(self._open_iterators):
            frames.close()
        self._source.close()

    @property
    def decode_errors(self) -> int:
        """How much could not be decoded in the latest pass: lost packets, frames with errors, an unreadable rest."""
        return self._source.decode_errors

    def __iter__(self) -> Iterator[Frame]:
        """All frames, from the start.

        Raises:
            InputError: nothing can be decoded, or the pixel format cannot be converted.
        """
        return self._converted(self._source.all())

    def read(self, timeline: Timeline, start: int, stop: int, *, without: Collection[int] = ()) -> Iterator[Frame]:
        """Frames `[start, stop)` of the clip that `timeline` describes: the same pixels wherever reading begins.

        They are deinterlaced if the timeline says so.

        Args:
            timeline: the clip; indices count all its frames, repeats, too.
            start: first frame of the range.
            stop: the frame after it.
            without: indices of frames inside it that are not wanted, and not converted.

        Raises:
            InputError: as iteration, or the frames are not where the timeline says (the file has changed).
            ValueError: the range is empty or reaches beyond the timeline.
        """
        if not 0 <= start < stop <= timeline.frame_count:
            raise ValueError(f"frames [{start}, {stop}) are not inside [0, {timeline.frame_count})")
        if timeline.deinterlace is None:
            frames = self._source.part(timeline, start, stop)
        else:
            fields, coded = timeline.fields_per_frame, timeline.as_coded
            first, end = max(0, start // fields - 1), min(coded.frame_count, -(-stop // fields) + 1)
            whole = deinterlaced(self._source.part(coded, first, end), timeline.deinterlace)
            frames = islice(whole, start - first * fields, stop - first * fields)
        return self._converted(frame for index, frame in enumerate(frames, start) if index not in without)

    def _converted(self, frames: Iterator[TimedFrame]) -> Iterator[Frame]:
        to_rgb = RgbConverter(self.info, self.notes)
        converted = (Frame(frame.pts, to_rgb(frame.picture)) for frame in frames)
        self._open_iterators.add(converted)
        return converted
