"""Sound and subtitles of a source whose clock jumps, written to files of their own with a clock that does not."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.contents import SourceStream
from vsr_pipeline.media.ffmpeg import file_url
from vsr_pipeline.media.input import open_input
from vsr_pipeline.media.read.jumps import PartOfClock, packet_span
from vsr_pipeline.media.read.sound import format_of_packet, format_of_stream
from vsr_pipeline.media.streams.plan import codecs_of
from vsr_pipeline.runtime.files import write_failure
from vsr_pipeline.timeline import ClockPart

# NUT keeps the times of a stream exactly; what it does not know, Matroska holds, in milliseconds. Sound that neither
# knows (that of a DVD or Blu-ray without compression) is decoded.
_CONTAINERS = ("nut", "matroska")
_DECODED = "pcm_s32le"
_INTERLEAVED_SECONDS = 10
"""Packets of a file that are shown at the same time lie within this time."""


@dataclass(frozen=True, slots=True)
class MovedStream:
    """Where a stream of the source is, with times that go on: `later` seconds more than those of the picture."""

    path: Path
    index: int
    later: Fraction


def move_streams(
    source: Path,
    streams: Collection[SourceStream],
    parts: Sequence[ClockPart],
    folder: Path,
    *,
    stop: Fraction | None = None,
) -> dict[int, MovedStream]:
    """Copy streams of `source` into files in `folder`, packet by packet, each moved as the part of the clock says.

    Args:
        source: a file whose clock jumps.
        streams: sound and subtitles.
        parts: of the source's clock.
        folder: where the files go.
        stop: seconds of the continuous clock from which on nothing is wanted. None: until the source's end.

    Returns:
        The copies, by the index of the source's stream.

    Raises:
        InputError: the source cannot be read.
        OutputError, ResourceError: a file cannot be written.
    """
    path = folder
    try:
        with ExitStack() as opened:
            container = opened.enter_context(open_input(source))
            writers: list[OutputContainer] = []
            targets: dict[int, _Target] = {}
            places: dict[int, MovedStream] = {}
            # NUT holds no time before 0, where the priming of a sound lies.
            later = Fraction(1 + max(0, math.ceil(-Fraction(container.start_time or 0, av.time_base))))
            for kind in (*_CONTAINERS, None):
                chosen = [stream for stream in streams if stream.index not in targets and _fits(stream, kind)]
                if not chosen:
                    continue
                path = folder / f"moved{len(places)}.{kind or _CONTAINERS[0]}"
                writer = opened.enter_context(av.open(file_url(path), "w", format=kind or _CONTAINERS[0]))
                writers.append(writer)
                for place, stream in enumerate(chosen):
                    inward = container.streams[stream.index]
                    clock = PartOfClock(parts, is_sound=stream.kind == "audio")
                    targets[stream.index] = _Target(inward, writer, clock, later, is_decoded=kind is None)
                    places[stream.index] = MovedStream(path, place, later)
            for writer in writers:
                writer.start_encoding()  # says what ticks its streams have
            for packet in _packets(container, list(targets)):
                if not targets[packet.stream.index].write(packet, stop):
                    break
            for target in targets.values():
                target.finish()
            return places
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise write_failure(path, error) from error
        raise InputError(f"sound or subtitles of {source} cannot be copied: {error.strerror}") from error


def _fits(stream: SourceStream, container: str | None) -> bool:
    return container is None or stream.codec in codecs_of(container)


def _packets(container: InputContainer, indices: Sequence[int]) -> "Iterator[Packet[Stream]]":
    """Packets of some streams, as far as the file can be read."""
    if not indices:
        return
    packets = container.demux(*(container.streams[index] for index in indices))
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        if packet.size:
            yield packet
        elif packet.dts is None:
            return  # PyAV's mark of the end


class _Target:
    """One stream of a file that is written."""

    def __init__(
        self, inward: Stream, writer: OutputContainer, clock: PartOfClock, later: Fraction, *, is_decoded: bool
    ) -> None:
        self._inward, self._writer, self._clock, self._later = inward, writer, clock, later
        self._last_dts: int | None = None
        self._format = format_of_stream(inward)
        self._is_of_codec = True
        self._end = Fraction(0)
        self._is_decoded = is_decoded
        if is_decoded:
            assert isinstance(inward, AudioStream)
            context = inward.codec_context
            self._stream: Stream = writer.add_stream(_DECODED, rate=context.sample_rate, layout=context.layout.name)
        else:
            self._stream = writer.add_stream_from_template(inward, opaque=True)
            self._stream.time_base = inward.time_base
        self._stream.metadata.update(inward.metadata)
        self._stream.disposition = inward.disposition

    def write(self, packet: "Packet[Stream]", stop: Fraction | None) -> bool:
        """Write a packet, moved; return whether the file has to be read on for what is shown before `stop`."""
        part = self._clock.part
        shift = self._clock(packet)
        if self._clock.part > part and self._format is not None:
            self._is_of_codec = format_of_packet(self._format.codec, bytes(packet)) is not None
        # An unknown jump near the end of a part: what follows was not analysed, and belongs behind it.
        if stop is not None and self._clock.jumped and self._end > stop - _INTERLEAVED_SECONDS:
            return False
        span = packet_span(packet)
        if span is not None:
            self._end = span[1] + shift
        if stop is not None and self._end > stop + _INTERLEAVED_SECONDS:
            return False
        if not self._is_of_codec:
            return True  # another sound under the same number
        if self._is_decoded:
            self._move(packet, shift, packet.time_base)
            self._mux_decoded(packet)
        elif self._move(packet, shift, self._stream.time_base):
            packet.stream = self._stream
            self._writer.mux(packet)
        return True

    def _move(self, packet: "Packet[Stream]", shift: Fraction, time_base: Fraction | None) -> bool:
        """Give a packet its new times, in other ticks; return whether it has any."""
        if packet.time_base is None or time_base is None:
            return False
        moved = [
            None if ticks is None else round((ticks * packet.time_base + shift + self._later) / time_base)
            for ticks in (packet.pts, packet.dts)
        ]
        pts, dts = moved[0], moved[1] if moved[1] is not None else moved[0]
        if dts is None:
            return False
        # A muxer takes no packet that is not later than the one before it.
        dts = dts if self._last_dts is None else max(dts, self._last_dts + 1)
        packet.duration = round((packet.duration or 0) * packet.time_base / time_base)
        packet.time_base = time_base
        packet.dts, packet.pts = dts, max(dts, pts if pts is not None else dts)
        self._last_dts = dts
        return True

    def _mux_decoded(self, packet: "Packet[Stream] | None") -> None:
        assert isinstance(self._inward, AudioStream)
        assert isinstance(self._stream, AudioStream)
        with suppress(av.error.InvalidDataError):  # what cannot be decoded is left out
            for frame in self._inward.codec_context.decode(packet):
                self._writer.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what is held back."""
        if self._is_decoded:
            self._mux_decoded(None)
            assert isinstance(self._stream, AudioStream)
            self._writer.mux(self._stream.encode(None))
