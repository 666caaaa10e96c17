"""One opened file: its packets, and the frames that the decoder makes of them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av.error
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr_pipeline.errors import OutOfMemoryError, ReadError
from vsr_pipeline.media.contents import Contents, contents_of, switched_off
from vsr_pipeline.media.input import choose_stream, open_container
from vsr_pipeline.media.read.clock import Clock
from vsr_pipeline.media.read.cutoff import missing_bytes
from vsr_pipeline.media.read.jumps import JumpFinder
from vsr_pipeline.media.source_bytes import PATIENCE_SECONDS
from vsr_pipeline.runtime.memory import refuse_absurd_size

# A bit of AVFormatContext.flags.
_GENERATE_PTS = 0x0001

_MOST_FAILURES = 500
_MOST_SILENCE = 20_000
"""Packets, as long as there was no frame: so many failures mean that nothing can be decoded (an encrypted film has
hundreds of thousands), so many without a word that no keyframe comes."""
_MOST_EMPTY_PACKETS = 10_000
"""A demuxer that gives more of them in a row does not get on."""


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
            self._hidden_streams = switched_off(self.container)
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

    def contents(self, *, to_the_end: bool) -> Contents:
        """Return what the file holds; to be asked before anything is decoded.

        Args:
            to_the_end: look whether the end of the file is missing, too.

        Raises:
            ReadError: the disk or the network failed.
        """
        contents = contents_of(self._path, self._file.identity, self.container, self._hidden_streams)
        return replace(contents, missing_bytes=missing_bytes(self._file)) if to_the_end else contents

    def clock_is_steady(self) -> bool:
        """Whether decoding times only rise, in a format where they need not; all packets are read if nobody has yet.

        Raises:
            ReadError: the disk or the network failed.
        """
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
