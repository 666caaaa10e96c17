"""The one decode path: packets to frames with repaired timestamps, from the start or from a keyframe.

Frames come from several threads as long as a file is sound. At the first sign of damage the file is decoded again by a
single thread: what a decoder makes of damaged data depends on the number of threads, and a frame must never.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from av.video.frame import PictureType, VideoFrame

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.read.cursor import Cursor, TimedFrame
from vsr_pipeline.media.read.decoder import Decoder
from vsr_pipeline.media.read.jumps import JumpFinder
from vsr_pipeline.timeline import Timeline

_SEEK_BACK_SECONDS = (0, 2, 10)
"""How long before a frame to look for a keyframe, one after the other, before the file is read from its start."""

_READ_ON_FRAMES = 50
"""A frame so close behind the latest one is reached by decoding on; one that is farther away by seeking."""
_CURSORS_FROM_START = 2
"""One for the frames of segments, one for the samples of a shot that are looked at before them; with one alone, a file
that cannot be seeked in would be read from its start for each shot."""


class _DamageError(Exception):
    """Some data could not be decoded."""


class _UntrustedError(Exception):
    """Decoding from a keyframe gave something else than the timeline says."""


class FrameSource:
    """Decoded frames of one file, in presentation order, with timestamps that increase strictly.

    Args:
        path: the file.
        video_stream: the number of the video, as in `choose_stream`.
        clock_may_jump: whether its format is one in which the clock may jump, as in `Contents`.
        jumps: is told about its packets.
    """

    def __init__(
        self, path: Path, video_stream: int | None, *, clock_may_jump: bool, jumps: JumpFinder | None = None
    ) -> None:
        self.path = path
        self._jumps = jumps
        self._video_stream = video_stream
        self.decode_errors = 0
        """What could not be decoded in the latest pass over the file or a part of it."""
        self.packet_side_data: set[str] = set()
        """FFmpeg's names of what came with the packets of the latest pass over the file."""
        self.hidden_frames = 0
        """Frames that the file itself hides, by an edit list, in the latest pass over all of it."""
        self._may_seek = None if clock_may_jump else True
        self._pts: tuple[int, ...] = ()
        self._cursors: list[Cursor] = []

    def all(self) -> Iterator[TimedFrame]:
        """Every frame, from the start.

        Raises:
            InputError: nothing can be decoded.
        """
        delivered = 0
        try:
            for frame in self._pass(frame_threads=True):
                yield frame
                delivered += 1
        except _DamageError:
            for frame in islice(self._pass(frame_threads=False), delivered, None):
                yield frame
                delivered += 1
        if delivered == 0:
            raise InputError(f"no frame of {self.path} can be decoded: it is damaged or encrypted")

    def _pass(self, *, frame_threads: bool) -> Iterator[TimedFrame]:
        with Decoder(self.path, self._video_stream, frame_threads=frame_threads, jumps=self._jumps) as decoder:
            clock = decoder.clock()
            self.packet_side_data = decoder.packet_side_data
            for frame in decoder.frames():
                if frame_threads and decoder.errors:
                    raise _DamageError
                self.decode_errors = decoder.errors
                yield TimedFrame(clock(frame), frame)
            self.decode_errors, self.hidden_frames = decoder.errors, decoder.hidden
            if frame_threads and decoder.errors:
                raise _DamageError

    def part(self, timeline: Timeline, start: int, stop: int) -> Iterator[TimedFrame]:
        """Frames `[start, stop)` of `timeline`: the same ones, to the pixel, as `all` gives.

        Decoding goes on from where an earlier part ended, if that is near. Else it begins at a keyframe where the
        frames after it can be told by their timestamps without doubt, and at the start of the file otherwise.

        Raises:
            InputError: the frames are not where the timeline says, or the disk or the network failed.
        """
        if timeline.pts_in_file != self._pts:
            self.close()
            self._pts = timeline.pts_in_file
        for index in range(start, stop):
            yield self._frame(timeline, index)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()

    def _frame(self, timeline: Timeline, index: int) -> TimedFrame:
        for cursor in sorted(self._cursors, key=lambda cursor: cursor.distance_to(index) or 0):
            distance = cursor.distance_to(index)
            if distance is None or (distance > _READ_ON_FRAMES and self._seeking_is_safe()):
                continue
            try:
                frame = cursor.frame(index)
            except _UntrustedError:
                self._drop(cursor)
                continue
            except BaseException:
                self._drop(cursor)
                raise
            if frame is not None:
                self._cursors.remove(cursor)
                self._cursors.append(cursor)  # the one that was used last is the last to be closed
                return frame
        return self._frame_anew(timeline, index)

    def _frame_anew(self, timeline: Timeline, index: int) -> TimedFrame:
        """Open the file, and go to a frame."""
        for seconds in _SEEK_BACK_SECONDS if index > 0 and self._seeking_is_safe() else ():
            cursor = Cursor(self._from_keyframe(timeline, index, back_seconds=seconds), index, from_start=False)
            try:
                frame = cursor.frame(index)
            except _UntrustedError:
                continue
            if frame is not None:
                self._keep(cursor)
                return frame
        for cursor in self._cursors:
            if cursor.from_start and cursor.distance_to(index) is not None:
                self._cursors.remove(cursor)
                if (frame := cursor.frame(index)) is not None:
                    self._cursors.append(cursor)
                    return frame
                break
        cursor = Cursor(self._from_start(timeline), 0, from_start=True)
        frame = cursor.frame(index)
        if frame is None:
            raise self._changed(index)
        self._keep(cursor)
        return frame

    def _keep(self, cursor: Cursor) -> None:
        most = _CURSORS_FROM_START if cursor.from_start else 1  # a decoder with many threads takes much memory
        while len(self._cursors) >= most:
            self._drop(self._cursors[0])
        self._cursors.append(cursor)

    def _drop(self, cursor: Cursor) -> None:
        self._cursors.remove(cursor)
        cursor.close()

    def _changed(self, index: int) -> InputError:
        return InputError(
            f"frame {index} of {self.path} is not where it was when the file was analysed: "
            "the file has changed; analyse it again"
        )

    def _from_start(self, timeline: Timeline) -> Generator[TimedFrame]:
        for index, frame in enumerate(self.all()):
            if index == timeline.frame_count:
                return
            if frame.pts != timeline.pts_in_file[index]:
                raise self._changed(index)
            yield frame

    def _from_keyframe(self, timeline: Timeline, start: int, *, back_seconds: int) -> Generator[TimedFrame]:
        """Decode from a keyframe before frame `start`, and yield that frame and all after it.

        Raises:
            _UntrustedError: before anything doubtful is yielded.
        """
        with Decoder(self.path, self._video_stream, frame_threads=True) as decoder:
            if not decoder.seek(timeline.pts_in_file[start] - int(back_seconds / decoder.time_base)):
                raise _UntrustedError
            pictures = decoder.frames()
            anchor = _first_trusted(pictures, not_after=timeline.pts_in_file[start])
            index = bisect_left(timeline.pts_in_file, anchor.pts or 0)
            errors, clock = decoder.errors, decoder.clock()
            for picture in (frame for frames in ((anchor,), pictures) for frame in frames):
                pts = clock(picture)
                if decoder.errors > errors or timeline.pts_in_file[index] != pts:
                    raise _UntrustedError
                if index >= start:
                    self.decode_errors = 0
                    yield TimedFrame(pts, picture)
                index += 1
                if index == timeline.frame_count:
                    return
            raise _UntrustedError

    def _seeking_is_safe(self) -> bool:
        """Whether a timestamp names one place in the file only.

        Recordings of broadcasts, joined ones above all, may count the same time twice; for containers in which that
        happens all packets are looked at, once in a process: the analysis does that on its way.
        """
        if self._may_seek is None:
            with Decoder(self.path, self._video_stream, frame_threads=False) as decoder:
                self._may_seek = decoder.clock_is_steady()
        return self._may_seek


def _first_trusted(pictures: Iterator[VideoFrame], *, not_after: int) -> VideoFrame:
    """Skip to the first frame from which on all pictures are whole.

    That is an intra-coded keyframe. One that is not (a picture refreshed little by little, a field pair whose second
    field is predicted) counts when an earlier keyframe came before it, a whole refresh ago.

    Raises:
        _UntrustedError: there is none up to the timestamp `not_after`.
    """
    keyframes = 0
    for picture in pictures:
        if picture.pts is None or picture.pts > not_after:
            break
        keyframes += picture.key_frame
        if picture.key_frame and (keyframes > 1 or picture.pict_type == PictureType.I):
            return picture
    raise _UntrustedError
