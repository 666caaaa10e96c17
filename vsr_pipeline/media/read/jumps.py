"""Jumps of a file's clock: joined recordings, a DVD's cells, a receiver that was tuned anew.

The clock counts on from another time there. `JumpFinder` finds where in the file that is, by the packets of picture and
sound, and `continuous` says what the timestamps are without the jumps.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from vsr_pipeline.media.read.sound import SoundFormat, format_of_packet, format_of_stream
from vsr_pipeline.timeline import ClockPart

# A bit of AVInputFormat.flags.
_CLOCK_MAY_JUMP = 0x0200

BACK_SECONDS = Fraction(1)
"""Timestamps that go back by no more are out of order; by more, the clock was reset."""
AHEAD_SECONDS = Fraction(10)
"""As ffmpeg's `dts_delta_threshold`: by no more, there was nothing to record for a while."""
_AHEAD_WITHOUT_SOUND_SECONDS = Fraction(600)
"""Without sound that jumps as well, a picture that stands still for less is a pause."""
_SAME_JUMP_SECONDS = Fraction(10)
"""Picture and sound of one recording begin and end within this time."""

_SHARE_WITHOUT_PICTURE = 0.1
"""So much of a file behind its picture's last packet is more than the end of its sound."""


def clock_may_jump(container: InputContainer) -> bool:
    """Whether the format of a file is one in which its clock may jump."""
    return bool(container.format.flags & _CLOCK_MAY_JUMP)


@dataclass(frozen=True, slots=True)
class PictureJump:
    """A jump as the frames show it, in ticks: the frame `index` is stated at `begin`, `end` was due there."""

    index: int
    end: int
    begin: int


@dataclass(frozen=True, slots=True)
class _PacketJump:
    """A packet of a stream at `begin` seconds, where the stream had gone on until `end`; at a position in the file."""

    stream: int
    position: int
    end: Fraction
    begin: Fraction
    was: SoundFormat | None = None
    """What the sound of the stream is by its header; None: it is a picture, or cannot be told."""
    data: bytes = b""
    """The packet of such a sound."""

    @property
    def seconds(self) -> Fraction:
        return self.begin - self.end


@dataclass(slots=True)
class _Track:
    """What was seen of one stream."""

    first_position: int
    position: int
    begin: Fraction
    end: Fraction


class JumpFinder:
    """Takes note of the packets of picture and sound at which a stream does not go on where it was."""

    def __init__(self) -> None:
        self._jumps: list[_PacketJump] = []
        self._tracks: dict[int, _Track] = {}
        self._sounds: set[int] = set()
        self._may_jump_ahead = False
        self._size = 0
        self.changes: list[str] = []
        """What `parts` found that is another sound after a jump, in sentences."""

    def restart(self, container: InputContainer) -> None:
        """Forget everything: the file is read from its start."""
        self._jumps, self._tracks, self._sounds = [], {}, set()
        self._may_jump_ahead = clock_may_jump(container)
        self._size = container.size

    @property
    def may_jump_ahead(self) -> bool:
        """Whether the container is one in which the clock may jump at any time; else, a step ahead is a pause."""
        return self._may_jump_ahead

    def note_on_rest(self, picture: int) -> tuple[str, ...]:
        """Say that a joined recording under other stream numbers is not read, as far as the file's size tells."""
        track = self._tracks.get(picture)
        if not self._may_jump_ahead or track is None or not self._size:
            return ()
        share = 1 - track.position / self._size
        if share < _SHARE_WITHOUT_PICTURE:
            return ()
        return (f"the last {share:.0%} of the file have nothing of this picture: another recording may follow there",)

    def feed(self, packet: "Packet[Stream]") -> None:
        """Look at the next packet of the file."""
        span = packet_span(packet)
        if span is None:
            return
        begin, end = span
        index = packet.stream.index
        if packet.stream.type == "audio":
            self._sounds.add(index)
        track = self._tracks.get(index)
        position = packet.pos if packet.pos is not None else track.position if track else 0
        if track is None:
            self._tracks[index] = _Track(position, position, begin, end)
            return
        # Packets of a picture are out of order by as much as the decoder reorders: that is no jump, and does not count
        # as one, as long as no frame jumps.
        if begin < track.begin or begin - track.end > AHEAD_SECONDS / 2:
            was = format_of_stream(packet.stream)
            self._jumps.append(_PacketJump(index, position, track.end, begin, was, bytes(packet) if was else b""))
            track.end = end
        track.position, track.begin, track.end = position, begin, max(track.end, end)

    def parts(
        self, jumps: Sequence[PictureJump], picture: int, time_base: Fraction
    ) -> Iterator[tuple[PictureJump, int, Fraction]]:
        """Yield the jumps of the picture that are jumps of the clock, with their position in the file.

        The third value is for how many seconds the picture has to wait there until the sound before the jump has ended.

        Args:
            jumps: of the frames, in order.
            picture: index of the picture's stream.
            time_base: seconds per tick of the picture.
        """
        after = -1
        for jump in jumps:
            place = self._place_of(jump, picture, time_base, after)
            if place is None:
                continue
            seconds = (jump.begin - jump.end) * time_base
            sounds = list(self._sounds_at(place))
            if seconds > 0 and not sounds and (self._is_heard_at(place) or seconds < _AHEAD_WITHOUT_SOUND_SECONDS):
                continue  # a pause
            after = place.position
            self._note_changes(sounds)
            wait = max((seconds - sound.seconds for sound in sounds), default=Fraction(0))
            yield jump, min([place.position, *(sound.position for sound in sounds)]), max(Fraction(0), wait)

    def _note_changes(self, sounds: Sequence[_PacketJump]) -> None:
        for sound in sounds:
            if sound.was is None or (now := format_of_packet(sound.was.codec, sound.data)) == sound.was:
                continue
            if now is None:
                self.changes.append(f"the sound of stream {sound.stream} is no {sound.was.codec} there: it is left out")
            else:
                self.changes.append(
                    f"the sound of stream {sound.stream} is {now} there, after {sound.was}: it is copied as it is, and "
                    "a player may not follow"
                )

    def _place_of(self, jump: PictureJump, picture: int, time_base: Fraction, after: int) -> _PacketJump | None:
        """Return the jump of the picture's packets, behind a position, that is this one of its frames."""

        def difference(found: _PacketJump) -> Fraction:
            return abs(found.begin - jump.begin * time_base) + abs(found.end - jump.end * time_base)

        behind = (found for found in self._jumps if found.stream == picture and found.position > after)
        place = min(behind, key=difference, default=None)
        return None if place is None or difference(place) > _SAME_JUMP_SECONDS else place

    def _sounds_at(self, place: _PacketJump) -> Iterator[_PacketJump]:
        """Yield the jump of each sound that is the same as this one of the picture."""
        for index in self._sounds:
            same = [
                found
                for found in self._jumps
                if found.stream == index
                and abs(found.begin - place.begin) + abs(found.seconds - place.seconds) <= _SAME_JUMP_SECONDS
            ]
            if same:
                yield min(same, key=lambda found: abs(found.position - place.position))

    def _is_heard_at(self, place: _PacketJump) -> bool:
        """Whether a sound goes on there."""
        return any(
            self._tracks[index].first_position < place.position <= self._tracks[index].position
            for index in self._sounds
        )


def packet_span(packet: "Packet[Stream]") -> tuple[Fraction, Fraction] | None:
    """Return when what is in a packet begins and ends, in seconds; None where nothing says so."""
    begin = packet.pts if packet.pts is not None else packet.dts
    if begin is None or packet.time_base is None:
        return None
    return begin * packet.time_base, (begin + (packet.duration or 0)) * packet.time_base


class PartOfClock:
    """Says by how much the packets of one stream are moved, in the order of the file."""

    def __init__(self, parts: Sequence[ClockPart], *, is_sound: bool) -> None:
        self._starts = [part.position for part in parts]
        self._shifts = [Fraction(0), *(part.shift_seconds for part in parts)]
        self._is_sound = is_sound
        self._position = 0
        self.part = 0
        """How many jumps the stream has followed."""
        self._shift = Fraction(0)
        self._end: Fraction | None = None
        self.jumped = False
        """Whether the latest packet is at a jump of which no part says anything."""

    def __call__(self, packet: "Packet[Stream]") -> Fraction:
        """Seconds to add to the next packet's times."""
        self._position = packet.pos if packet.pos is not None else self._position
        span = packet_span(packet)
        part = bisect_right(self._starts, self._position)
        # Sound that goes on as if nothing was is not moved by what only the picture does.
        if part > self.part and not self._goes_on(span, by=self._shift, rather_than=self._shifts[part]):
            self.part, self._shift = part, self._shifts[part]
        if span is not None:
            begin, end = (time + self._shift for time in span)
            is_near = self._end is None or -BACK_SECONDS <= begin - self._end <= AHEAD_SECONDS
            self.jumped = self._is_sound and not is_near
            self._end = end
        return self._shift

    def _goes_on(self, span: tuple[Fraction, Fraction] | None, *, by: Fraction, rather_than: Fraction) -> bool:
        if not self._is_sound or self._end is None or span is None:
            return False
        return abs(span[0] + by - self._end) < abs(span[0] + rather_than - self._end)
