"""The finished file: the enhanced picture with everything else of the source, copied packet by packet."""

import functools
import math
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg
from av.stream import Disposition, Stream

from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.files import write_failure
from vsr_pipeline.media.ffmpeg import file_url, input_file, output_file, run_ffmpeg

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

# Where players and ffmpeg's lists disagree. Vorbis and TrueHD in mp4 are experiments that hardly anything plays;
# the list for Matroska leaves out what it holds "as a .wav would", the sound of old AVI and WMV files.
_HARDLY_PLAYED = {"mp4": frozenset({"vorbis", "truehd"})}
_HELD_AS_WAV = frozenset({"adpcm_ima_wav", "adpcm_ms", "gsm_ms", "pcm_alaw", "pcm_mulaw", "wmapro", "wmav1", "wmav2"})
_COVERS = {"mjpeg": (".jpg", "image/jpeg"), "png": (".png", "image/png")}

# Edit lists count in the movie's time scale; with at least this many units per second a sound starts right to 11 us.
_FINE_TIMESCALE = 90_000


@dataclass(frozen=True, slots=True)
class SourceStream:
    """A stream of the source that goes to the output as it is; `kind` is audio, subtitle, attachment or cover."""

    index: int
    kind: str
    codec: str

    def __str__(self) -> str:
        return f"stream {self.index} ({self.kind}, {self.codec})"


def mux(
    video_track: Path,
    source: Path,
    output: Path,
    *,
    source_video_index: int | None = None,
    origin: Fraction = Fraction(0),
    leave_out: Collection[int] = (),
) -> None:
    """Write `output`: the video of `video_track`, and the source's sound, subtitles, chapters, covers, fonts and tags.

    Nothing is encoded. The clock is the source's, so that everything starts when it did there; Matroska rounds to
    milliseconds. The picture carries no rotation: it is upright already.

    Args:
        video_track: a file of `VideoWriter`.
        source: the file that was enhanced; its videos are left out, but covers are kept.
        output: where to write, overwritten if it exists; its suffix says the container: see `container_for`.
        source_video_index: the source's stream that was enhanced; gives the video's language and title.
        origin: source time in seconds that is 0 in `video_track` and in the output. For video that starts before 0,
            and for recorded broadcasts, whose clocks begin anywhere.
        leave_out: indices of source streams that are not copied.

    Raises:
        InputError: the source cannot be read.
        OutputError: `output` cannot be written, or its container cannot hold one of the streams (all are named).
        ResourceError: the disk is full.
    """
    unfit = [stream for stream in unfit_streams(source, output.suffix) if stream.index not in leave_out]
    if unfit:
        others = [s for s in (".mp4", ".mov", ".mkv") if not {u.index for u in unfit_streams(source, s)} - {*leave_out}]
        way_out = f"name the output {' or '.join(others)}" if others else "no container holds them all: leave some out"
        raise OutputError(f"{output.suffix} cannot hold {', '.join(map(str, unfit))} of {source}: {way_out}")
    copied = [stream for stream in _streams(source) if stream.index not in leave_out]
    as_files = [s for s in copied if s.kind == "cover" and output.suffix.lower() == ".mkv"]

    picture = input_file(video_track)
    rest = input_file(source, itsoffset=f"{float(-origin):.6f}") if origin else input_file(source)
    # ffmpeg numbers its inputs in the order in which they are mapped: the source is 1. Where nothing of it is copied, a
    # stream that may be missing, and is, still makes it an input, for its tags and chapters.
    mapped = [rest[str(stream.index)] for stream in copied if stream not in as_files] or [rest["9999?"]]
    options: dict[str, str | int | None] = {
        "format": _FORMATS[output.suffix.lower()],
        "c": "copy",
        "copyts": None,  # times as they are, not moved to 0 for each input
        "copypriorss": 1,  # the encoder's priming lies before time 0 and belongs to the sound
        "map_metadata": 1,
        "map_chapters": 1,
        "disposition:v:0": "default",
        **_time_options(output, video_track),
    }
    with tempfile.TemporaryDirectory() as folder:
        repeated = _video_tags(source, source_video_index)
        repeated += _attached_covers(source, as_files, Path(folder), sum(s.kind == "attachment" for s in copied))
        run_ffmpeg(
            ffmpeg.output(picture["v:0"], *mapped, output_file(output), **options),
            what=f"joining the new picture and the other streams of {source}",
            repeated_options=repeated,
        )


def container_for(source: Path) -> str:
    """Suffix of the container for the enhanced `source`: its own where H.264 and all its streams fit, else `.mkv`.

    Raises:
        InputError: the source cannot be read.
    """
    suffix = source.suffix.lower()
    return suffix if suffix in _FORMATS and not unfit_streams(source, suffix) else ".mkv"


def unfit_streams(source: Path, suffix: str) -> tuple[SourceStream, ...]:
    """Return the streams that should be copied from `source` but that a file with `suffix` cannot hold.

    Raises:
        InputError: the source cannot be read.
        OutputError: `suffix` is none of a container that can be written.
    """
    if suffix.lower() not in _FORMATS:
        raise OutputError(f"cannot write {suffix or 'a name without suffix'}: use one of {', '.join(_FORMATS)}")
    container = _FORMATS[suffix.lower()]
    return tuple(stream for stream in _streams(source) if not _holds(container, stream))


def _holds(container: str, stream: SourceStream) -> bool:
    if stream.kind == "cover":
        return container != "mov" and stream.codec in _COVERS
    if stream.kind == "attachment":
        return container == "matroska"
    return stream.codec in _codecs_of(container)


@functools.cache
def _codecs_of(container: str) -> frozenset[str]:
    with av.open(os.devnull, "w", format=container) as muxer:
        listed = frozenset(muxer.supported_codecs)
    return (listed | _HELD_AS_WAV if container == "matroska" else listed) - _HARDLY_PLAYED.get(container, frozenset())


def _opened(source: Path) -> av.container.InputContainer:
    try:
        return av.open(file_url(source), options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error


def _streams(source: Path) -> tuple[SourceStream, ...]:
    with _opened(source) as container:
        kinds = [(stream, _kind(stream)) for stream in container.streams]
        return tuple(SourceStream(stream.index, kind, _codec(stream)) for stream, kind in kinds if kind is not None)


def _kind(stream: Stream) -> str | None:
    if stream.type == "video":
        return "cover" if stream.disposition & Disposition.attached_pic else None
    return stream.type if stream.type in ("audio", "subtitle", "attachment") else None


def _codec(stream: Stream) -> str:
    """Name of the decoder, as the muxers' lists have it; the file's four letters where there is no decoder."""
    context = stream.codec_context
    return context.name if context is not None else "unknown codec"


def _video_tags(source: Path, index: int | None) -> list[str]:
    """Language and title of the source's video; its other tags (bit rate, encoder) are not true any more."""
    if index is None:
        return []
    with _opened(source) as container:
        tags = {name.lower(): value for name, value in container.streams[index].metadata.items()}
    kept = [f"{tag}={tags[tag]}" for tag in ("language", "title") if tag in tags]
    return [word for tag in kept for word in ("-metadata:s:v:0", tag)]


def _attached_covers(source: Path, covers: list[SourceStream], folder: Path, attachments: int) -> list[str]:
    """Write `covers` to `folder`; return the options that attach them.

    In Matroska a cover is an attached file; copied as a stream it would become a second video. `attachments` is the
    number of files that are attached anyhow.
    """
    options: list[str] = []
    for number, cover in enumerate(covers):
        suffix, mime_type = _COVERS[cover.codec]
        path = folder / f"cover{'' if number == 0 else number}{suffix}"
        with _opened(source) as container:
            packets = container.demux(container.streams[cover.index])
            data = bytes(next(packet for packet in packets if packet.size))
        try:
            path.write_bytes(data)
        except OSError as error:
            raise write_failure(path, error) from error
        options += ["-attach", str(path), f"-metadata:s:t:{attachments + number}", f"mimetype={mime_type}"]
    return options


def _time_options(output: Path, video_track: Path) -> dict[str, str | int]:
    """Options that make mp4 and mov keep the ticks of `video_track`."""
    if _FORMATS[output.suffix.lower()] == "matroska":
        return {}
    with av.open(file_url(video_track)) as container:
        time_base = container.streams.video[0].time_base
    assert time_base is not None
    ticks = time_base.denominator
    return {
        "video_track_timescale": ticks,
        "movie_timescale": ticks * math.ceil(_FINE_TIMESCALE / ticks),
        "movflags": "+faststart",
    }
