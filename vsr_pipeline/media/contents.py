"""What a file holds, by its header: found out once, when the file is opened for the first time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from vsr_pipeline.media.input import open_container
from vsr_pipeline.media.read.jumps import clock_may_jump
from vsr_pipeline.runtime.files import FileIdentity

TIMECODE = "timecode"
GOPRO = "gpmd"
UNKNOWN = "unknown codec"

_MICROSECONDS = 1_000_000
# Containers whose clock begins anywhere: that of a recorded broadcast.
_BROADCAST_FORMATS = frozenset({"mpegts", "mpeg", "pva", "wtv"})

Tags = tuple[tuple[str, str], ...]
"""Names and values, as the file has them."""


@dataclass(frozen=True, slots=True)
class SourceStream:
    """A stream of the source; `kind` is video, audio, subtitle, data, attachment or cover. Times are the source's."""

    index: int
    kind: str
    codec: str
    language: str | None = None
    start_seconds: Fraction | None = None
    duration_seconds: Fraction | None = None
    frame_rate: Fraction | None = None
    """Of a video, on average."""
    channels: int = 0
    """Of a sound."""
    tags: Tags = ()

    def __str__(self) -> str:
        language = f", {self.language}" if self.language else ""
        return f"stream {self.index} ({self.kind}, {self.codec}{language})"


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter: seconds [start, stop) of the source."""

    start: Fraction
    stop: Fraction
    tags: Tags


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds, and what is known of it before it is decoded."""

    path: Path
    identity: FileIdentity
    """The file as it was when it was opened."""
    container: str
    """FFmpeg's names of the format, separated by commas."""
    streams: tuple[SourceStream, ...]
    """All but the track that an mp4 keeps its chapters in: they are read as chapters and written anew."""
    chapters: tuple[Chapter, ...]
    tags: Tags
    duration_seconds: Fraction | None
    """Of the whole file."""
    clock_may_jump: bool
    """Whether the format is one in which the clock may jump."""
    missing_bytes: int = 0
    """How many bytes the file lacks at its end; 0, too, where nobody has looked."""
    notes: tuple[str, ...] = ()
    """What is lost of the side data of the video that is enhanced, and which other videos are left out."""

    @property
    def is_quicktime(self) -> bool:
        """Whether it is an MP4 or QuickTime file."""
        return "mov" in self.container.split(",")

    @property
    def is_broadcast(self) -> bool:
        """Whether its clock begins anywhere, as that of a recorded broadcast."""
        return not _BROADCAST_FORMATS.isdisjoint(self.container.split(","))

    def stream(self, index: int) -> SourceStream:
        """Return the stream with this index."""
        return next(stream for stream in self.streams if stream.index == index)


def read_contents(path: Path) -> Contents:
    """Open a file and return what it holds; whether its end is missing is not looked at.

    Raises:
        InputError: as `open_container`.
    """
    container, file = open_container(path)
    with file, container:
        return contents_of(path, file.identity, container, switched_off(container))


def switched_off(container: InputContainer) -> frozenset[int]:
    """Return the streams whose packets are not read: before anybody has chosen one, those are an mp4's chapters."""
    return frozenset(stream.index for stream in container.streams if stream.discard == Discard.all)


def contents_of(path: Path, identity: FileIdentity, container: InputContainer, hidden: Collection[int]) -> Contents:
    """Return what a file holds that was opened and not read any further.

    Args:
        path: the file.
        identity: the file as it was when it was opened.
        container: the same, open.
        hidden: what `switched_off` gave when it was opened.
    """
    is_quicktime = "mov" in container.format.name.split(",")
    chapters = tuple(
        Chapter(begin * (base or Fraction(1)), end * (base or Fraction(1)), _tags(tags))
        for begin, end, base, tags in (
            (c["start"], c["end"], c["time_base"], c["metadata"]) for c in container.chapters()
        )
    )
    chapter_tracks = {s.index for s in container.streams if s.type == "data" and s.index in hidden} if chapters else ()
    return Contents(
        path=path,
        identity=identity,
        container=container.format.name,
        streams=tuple(_described(s, is_quicktime) for s in container.streams if s.index not in chapter_tracks),
        chapters=chapters,
        tags=_tags(container.metadata),
        duration_seconds=None if container.duration is None else Fraction(container.duration, _MICROSECONDS),
        clock_may_jump=clock_may_jump(container),
    )


def _described(stream: Stream, is_quicktime: bool) -> SourceStream:
    # Without a decoder PyAV has no codec context, whatever its annotations say.
    context = cast("CodecContext | None", stream.codec_context)
    return SourceStream(
        index=stream.index,
        kind=_kind(stream),
        codec=_codec(stream, is_quicktime),
        language=_language(stream),
        start_seconds=_seconds(stream.start_time, stream),
        duration_seconds=_seconds(stream.duration, stream),
        frame_rate=stream.average_rate if isinstance(stream, VideoStream) and context is not None else None,
        channels=stream.codec_context.channels if isinstance(stream, AudioStream) and context is not None else 0,
        tags=_tags(stream.metadata),
    )


def _tags(metadata: Mapping[str, str]) -> Tags:
    return tuple(metadata.items())


def _seconds(ticks: int | None, stream: Stream) -> Fraction | None:
    return None if ticks is None or stream.time_base is None else ticks * stream.time_base


def _language(stream: Stream) -> str | None:
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    return None if tags.get("language") in (None, "und") else tags["language"]


def _kind(stream: Stream) -> str:
    if stream.type == "video":
        return "cover" if stream.disposition & Disposition.attached_pic else "video"
    return stream.type if stream.type in ("audio", "subtitle", "attachment") else "data"


def _codec(stream: Stream, is_quicktime: bool) -> str:
    context = cast("CodecContext | None", stream.codec_context)
    if context is not None:
        return context.codec.canonical_name
    if stream.type == "data" and "timecode" in stream.metadata:
        return TIMECODE
    name = cast("str | None", getattr(stream, "name", None))  # sound without a decoder has not even that
    return GOPRO if is_quicktime and name == "bin_data" else name or UNKNOWN
