"""When packets are decoded, given when their frames are shown."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from av.packet import Packet
from av.video.stream import VideoStream

_LONG_LEAD = 3
"""A lead of so many times the usual steps of the frames that are delayed is one over a pause."""


class PacketTimes(NamedTuple):
    """Ticks of one packet, in units of its stream."""

    dts: int
    duration: int


def packet_times(decoded: Sequence[int], end: int) -> list[PacketTimes]:
    """Decoding times and durations for packets in the order of decoding.

    A file's header tells a track's length as the time between the decoding of its first and its last packet plus the
    duration of the last. The lead of decoding over showing is chosen so that this is the time that frames are shown.

    Args:
        decoded: presentation times, in the order of decoding; all different.
        end: when the last frame is no longer shown.
    """
    shown = sorted(decoded)
    place = {pts: index for index, pts in enumerate(shown)}
    durations = {a: b - a for a, b in pairwise([*shown, end])}
    delay = max(index - place[pts] for index, pts in enumerate(decoded))
    # The last packet is one of the last `delay + 1` frames, so the lead is at least one tick per delayed packet.
    last = shown[len(shown) - 1 - delay]
    lead = end - last - durations[decoded[-1]]
    if delay and lead > _LONG_LEAD * delay * median_low(durations.values()):
        # A pause lies between the decoding of the last packet and its showing: it is decoded after the pause, too.
        shortest = max(end - decoded[-1] - durations[decoded[-1]], delay * median_low(durations.values()))
        last, lead = last + lead - shortest, shortest
    ahead = [shown[0] - lead + lead * index // delay for index in range(delay)]
    times = [*ahead, *shown[: len(shown) - delay]]
    times[-1] = last
    return [PacketTimes(dts, durations[pts]) for dts, pts in zip(times, decoded, strict=True)]


class EncoderClock:
    """Corrects the decoding times of an encoder's packets, so that the file's header tells the right length."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None

    def correct(self, packets: "Sequence[Packet[VideoStream]]", *, end: int | None) -> None:
        """Correct packets in place.

        x265 makes up decoding times when a video has fewer frames than it reorders; as long as no packet is written
        they can be made anew. Later, the last packet's duration can still be set, if that does not make it end after
        the last frame.

        Args:
            packets: what the encoder just gave, in its order.
            end: when the last frame is no longer shown, if these are the last packets.
        """
        if not packets:
            return
        if self._first is None:
            if end is not None:
                for packet, times in zip(packets, packet_times([_times(p)[0] for p in packets], end), strict=True):
                    packet.dts, packet.duration = times
            self._first = _times(packets[0])
        elif end is not None:
            (first_pts, first_dts), (pts, dts) = self._first, _times(packets[-1])
            packets[-1].duration = max(1, min(end - first_pts - (dts - first_dts), end - pts))


def _times(packet: "Packet[VideoStream]") -> tuple[int, int]:
    assert packet.pts is not None, "encoders give every packet its time"
    assert packet.dts is not None
    return packet.pts, packet.dts
