"""The one decode path: packets to frames with repaired timestamps, from the start or from a keyframe.

Frames come from several threads as long as a file is sound. At the first sign of damage the file is decoded again by a
single thread: what a decoder makes of damaged data depends on the number of threads, and a frame must never.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import av.error
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from vsr_pipeline.errors import InputError, OutOfMemoryError
from vsr_pipeline.media._clock import Clock
from vsr_pipeline.media._input import choose_stream, open_input
from vsr_pipeline.media.memory import refuse_absurd_size
from vsr_pipeline.timeline import Timeline

_SEEK_BACK_SECONDS = (0, 2, 10)
"""How long before a frame to look for a keyframe, one after the other, before the file is read from its start."""

# Bits of AVFormatContext.flags and AVInputFormat.flags.
_GENERATE_PTS = 0x0001
_CLOCK_MAY_JUMP = 0x0200

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


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame, as coded, with its repaired timestamp in ticks of the stream."""

    pts: int
    picture: VideoFrame


class Decoder:
    """Frames of the chosen video stream of one opened file, from the present position on."""

    def __init__(self, path: Path, video_stream: int | None = None, *, frame_threads: bool) -> None:
        self.errors = 0
        """Packets that could not be decoded, frames that were decoded with errors, and an end that came too early."""
        self._path = path
        self._frame_threads = frame_threads
        self.container = open_input(path)
        try:
            # PyAV asks for timestamps made up from later packets; ffmpeg does not.
            self.container.flags &= ~_GENERATE_PTS
            self.stream = choose_stream(self.container, path, video_stream)
            refuse_absurd_size(path, self.stream.codec_context.width, self.stream.codec_context.height)
        except BaseException:
            self.container.close()
            raise
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
        self.container.close()

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick."""
        return self.stream.time_base or Fraction(1, 90_000)

    def clock(self) -> Clock:
        """Return a clock for frames of this stream."""
        rate = self.stream.average_rate or self.stream.base_rate or Fraction(25)
        return Clock(time_base=self.time_base, average_step=max(1, round(1 / (rate * self.time_base))))

    def seek(self, pts: int) -> bool:
        """Go to a keyframe at or before `pts`, as far as the container knows; False where it cannot seek."""
        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return False
        return True

    def frames(self) -> Iterator[VideoFrame]:
        """All frames that the decoder gives, in presentation order."""
        last_packet_pts: int | None = None
        last_frame_pts: int | None = None
        given = missing = failures = 0
        for packet in self._packets():
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

    def _packets(self) -> "Iterator[Packet[VideoStream] | None]":
        """Packets of the stream, then None. A file that cannot be read on ends there."""
        packets = self.container.demux(self.stream)
        left, empty = self.container.size + _MOST_EMPTY_PACKETS, 0
        # No packet is shorter than a byte: a demuxer that gives more of them than the file has goes in circles.
        while left > 0 and empty < _MOST_EMPTY_PACKETS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                break
            left -= 1
            empty = 0 if packet.size else empty + 1
            if packet.size:
                yield packet
            elif packet.dts is None:
                # PyAV's mark of the end. Going on could fail: it does not expect streams that appear on the way.
                yield None
                return
        self.errors += 1
        yield None


class FrameSource:
    """Decoded frames of one file, in presentation order, with timestamps that increase strictly."""

    def __init__(self, path: Path, video_stream: int | None = None) -> None:
        self.path = path
        self._video_stream = video_stream
        self.decode_errors = 0
        """What could not be decoded in the latest pass over the file or a part of it."""
        self._may_seek: bool | None = None

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
        with Decoder(self.path, self._video_stream, frame_threads=frame_threads) as decoder:
            clock = decoder.clock()
            for frame in decoder.frames():
                if frame_threads and decoder.errors:
                    raise _DamageError
                self.decode_errors = decoder.errors
                yield TimedFrame(clock(frame), frame)
            self.decode_errors = decoder.errors
            if frame_threads and decoder.errors:
                raise _DamageError

    def part(self, timeline: Timeline, start: int, stop: int) -> Iterator[TimedFrame]:
        """Frames `[start, stop)` of `timeline`: the same ones, to the pixel, as `all` gives.

        Decoding begins at a keyframe where the frames after it can be told by their timestamps without doubt, and at
        the start of the file otherwise.

        Raises:
            InputError: the frames are not where the timeline says.
        """
        done = start
        for seconds in _SEEK_BACK_SECONDS if start > 0 and self._seeking_is_safe() else ():
            try:
                for frame in self._from_keyframe(timeline, start, stop, back_seconds=seconds):
                    yield frame
                    done += 1
                return
            except _UntrustedError:
                if done > start:
                    break
        index = -1
        for index, frame in enumerate(islice(self.all(), stop)):
            if frame.pts != timeline.pts[index]:
                break
            if index >= done:
                yield frame
                done += 1
        if done < stop:
            raise InputError(
                f"frame {max(index, done)} of {self.path} is not where it was when the file was analysed: "
                "the file has changed; analyse it again"
            )

    def _from_keyframe(self, timeline: Timeline, start: int, stop: int, *, back_seconds: int) -> Iterator[TimedFrame]:
        """Decode from a keyframe before frame `start`; raise `_UntrustedError` before anything doubtful is yielded."""
        with Decoder(self.path, self._video_stream, frame_threads=True) as decoder:
            if not decoder.seek(timeline.pts[start] - int(back_seconds / decoder.time_base)):
                raise _UntrustedError
            pictures = decoder.frames()
            anchor = _first_trusted(pictures, not_after=timeline.pts[start])
            index = bisect_left(timeline.pts, anchor.pts or 0)
            errors, clock = decoder.errors, decoder.clock()
            for picture in (frame for frames in ((anchor,), pictures) for frame in frames):
                pts = clock(picture)
                if decoder.errors > errors or timeline.pts[index] != pts:
                    raise _UntrustedError
                if index >= start:
                    self.decode_errors = 0
                    yield TimedFrame(pts, picture)
                index += 1
                if index == stop:
                    return
            raise _UntrustedError

    def _seeking_is_safe(self) -> bool:
        """Whether a timestamp names one place in the file only.

        Recordings of broadcasts, joined ones above all, may count the same time twice; for containers in which that
        happens all packets are looked at (not decoded), once.
        """
        if self._may_seek is None:
            with Decoder(self.path, self._video_stream, frame_threads=False) as decoder:
                if decoder.container.format.flags & _CLOCK_MAY_JUMP:
                    times = (packet.dts for packet in decoder._packets() if packet is not None)
                    self._may_seek = all(a < b for a, b in pairwise(dts for dts in times if dts is not None))
                    self._may_seek &= decoder.errors == 0
                else:
                    self._may_seek = True
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
