"""The one decode path: packets to frames with repaired timestamps, from the start or from a keyframe.

Frames come from several threads as long as a file is sound. At the first sign of damage the file is decoded again by a
single thread: what a decoder makes of damaged data depends on the number of threads, and a frame must never.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av.error
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from vsr_pipeline.errors import InputError, OutOfMemoryError, ReadError
from vsr_pipeline.media.input import choose_stream, open_container
from vsr_pipeline.media.read.clock import Clock
from vsr_pipeline.media.read.cursor import Cursor, TimedFrame
from vsr_pipeline.media.read.jumps import JumpFinder, clock_may_jump
from vsr_pipeline.media.source_bytes import PATIENCE_SECONDS
from vsr_pipeline.runtime.memory import refuse_absurd_size
from vsr_pipeline.timeline import Timeline

_SEEK_BACK_SECONDS = (0, 2, 10)
"""How long before a frame to look for a keyframe, one after the other, before the file is read from its start."""

_READ_ON_FRAMES = 50
"""A frame so close behind the latest one is reached by decoding on; one that is farther away by seeking."""
_CURSORS_FROM_START = 2
"""One for the frames of segments, one for the samples of a shot that are looked at before them; with one alone, a file
that cannot be seeked in would be read from its start for each shot."""

# A bit of AVFormatContext.flags.
_GENERATE_PTS = 0x0001

_MOST_FAILURES = 500
_MOST_SILENCE = 20_000
"""Packets, as long as there was no frame: so many failures mean that nothing can be decoded (an encrypted film has
hundreds of thousands), so many without a word that no keyframe comes."""
_MOST_EMPTY_PACKETS = 10_000
"""A demuxer that gives more of them in a row does not get on."""


class _DamageError(Exception):
    """Some data could not be decoded."""


class _UntrustedError(Exception):
    """Decoding from a keyframe gave something else than the timeline says."""


class Decoder:
    """Frames of the chosen video stream of one opened file, from the present position on."""

    def __init__(
        self,
        path: Path,
        video_stream: int | None = None,
        *,
        frame_threads: bool,
        jumps: JumpFinder | None = None,
    ) -> None:
        self.errors = 0
        """Packets that could not be decoded, frames that were decoded with errors, and an end that came too early."""
        self.packet_side_data: set[str] = set()
        """FFmpeg's names of what came with the packets so far."""
        self.hidden = 0
        """Packets that the file itself hides, by an edit list."""
        self._path = path
        self._frame_threads = frame_threads
        self._is_at_start = True
        self.container, self._file = open_container(path)
        try:
            # PyAV asks for timestamps made up from later packets; ffmpeg does not.
            self.container.flags &= ~_GENERATE_PTS
            self.stream = choose_stream(self.container, path, video_stream)
            refuse_absurd_size(path, self.stream.codec_context.width, self.stream.codec_context.height)
        except BaseException:
            self._close()
            raise
        self._jumps = jumps
        if jumps is not None:
            jumps.restart(self.container)
        # Decoding changes what the codec context says.
        self.field_order_from_header = int(self.stream.codec_context.field_order)
        self.size_from_header = (self.stream.codec_context.width, self.stream.codec_context.height)
        self.stream.thread_type = "AUTO" if frame_threads else "NONE"
        self.stream.thread_count = 0 if frame_threads else 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self.container.close()
        self._file.close()

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick."""
        return self.stream.time_base or Fraction(1, 90_000)

    def clock_is_steady(self) -> bool:
        """Whether decoding times only rise, where they need not; all packets are read for that if nobody has yet.

        Raises:
            ReadError: the disk or the network failed.
        """
        if not clock_may_jump(self.container):
            return True
        if self.stream.index not in self._file.known.clock_is_steady:
            deque(self._packets(), maxlen=0)
        return self._file.known.clock_is_steady.get(self.stream.index, False)

    def clock(self) -> Clock:
        """Return a clock for frames of this stream."""
        rate = self.stream.average_rate or self.stream.base_rate or Fraction(25)
        return Clock(time_base=self.time_base, average_step=max(1, round(1 / (rate * self.time_base))))

    def seek(self, pts: int) -> bool:
        """Go to a keyframe at or before `pts`, as far as the container knows; False where it cannot seek.

        Raises:
            ReadError: the disk or the network failed.
        """
        self._file.begin_packet()
        self._is_at_start = False
        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except av.error.FFmpegError:
            self._file.check()
            return False
        self._file.check()
        return True

    def frames(self) -> Iterator[VideoFrame]:
        """All frames that the decoder gives, in presentation order.

        Raises:
            ReadError: the disk or the network failed.
        """
        last_packet_pts: int | None = None
        last_frame_pts: int | None = None
        given = missing = failures = 0
        for packet in self._packets():
            if packet is not None:
                self.hidden += packet.is_discard
                self.packet_side_data.update(data.data_desc for data in packet.iter_sidedata())
            if packet is not None and not packet.is_discard:
                missing += 1
                if packet.pts is not None:
                    last_packet_pts = max(packet.pts, last_packet_pts if last_packet_pts is not None else packet.pts)
            try:
                decoded = self.stream.codec_context.decode(packet)
            except av.error.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise OutOfMemoryError(f"not enough memory to decode {self._path}") from error
                self.errors += 1
                failures += 1
                decoded = []
            if given == 0 and not decoded and (failures > _MOST_FAILURES or missing > _MOST_SILENCE):
                self.errors += 1
                return
            for frame in decoded:
                missing -= 1
                given += 1
                self.errors += frame.is_corrupt
                last_frame_pts = frame.pts
                yield frame
        # PyAV forgets an error, and all frames behind it, when it empties a decoder with several threads.
        if self._frame_threads and missing > 0 and last_frame_pts != last_packet_pts:
            self.errors += 1

    def _watched(self) -> list[Stream]:
        """Streams whose packets are read: with a finder of jumps, the sound, too, where it lies between the picture."""
        if self._jumps is None or "mov" in self.container.format.name.split(","):
            return [self.stream]
        for sound in self.container.streams.audio:
            sound.discard = Discard.default
        return [self.stream, *self.container.streams.audio]

    def _packets(self) -> "Iterator[Packet[VideoStream] | None]":
        """Packets of the stream, then None. A file that cannot be read on ends there."""
        packets = self.container.demux(*self._watched())
        left, empty = self.container.size + _MOST_EMPTY_PACKETS, 0
        is_steady, last_dts = True, None
        # No packet is shorter than a byte: a demuxer that gives more of them than the file has goes in circles.
        while left > 0 and empty < _MOST_EMPTY_PACKETS:
            self._file.begin_packet()
            try:
                packet = next(packets)
            except StopIteration:
                self._file.check()
                return
            except av.error.ExitError as error:
                self._file.check()
                raise ReadError(f"{self._path} gives no packet in {PATIENCE_SECONDS:.0f} seconds") from error
            except av.error.FFmpegError:
                self._file.check()
                break
            self._file.check()
            left -= 1
            empty = 0 if packet.size else empty + 1
            if packet.size:
                if self._jumps is not None:
                    self._jumps.feed(packet)
                if packet.stream.index != self.stream.index:
                    continue
                if packet.dts is not None:
                    is_steady &= last_dts is None or last_dts < packet.dts
                    last_dts = packet.dts
                yield cast("Packet[VideoStream]", packet)
            elif packet.dts is None:
                # PyAV's mark of the end. Going on could fail: it does not expect streams that appear on the way.
                if self._is_at_start:
                    self._file.known.clock_is_steady[self.stream.index] = is_steady
                yield None
                return
        if self._is_at_start:
            self._file.known.clock_is_steady[self.stream.index] = False
        self.errors += 1
        yield None


class FrameSource:
    """Decoded frames of one file, in presentation order, with timestamps that increase strictly."""

    def __init__(self, path: Path, video_stream: int | None = None, *, jumps: JumpFinder | None = None) -> None:
        self.path = path
        self._jumps = jumps
        self._video_stream = video_stream
        self.decode_errors = 0
        """What could not be decoded in the latest pass over the file or a part of it."""
        self.packet_side_data: set[str] = set()
        """FFmpeg's names of what came with the packets of the latest pass over the file."""
        self.hidden_frames = 0
        """Frames that the file itself hides, by an edit list, in the latest pass over all of it."""
        self._may_seek: bool | None = None
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
