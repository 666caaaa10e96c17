"""What becomes of each stream of a source in the container of the output."""

import functools
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from vsr_pipeline.config import EncodeConfig, OutputConfig
from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.contents import GOPRO, TIMECODE, UNKNOWN, Contents, SourceStream

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

# Where ffmpeg's lists are wrong, or players disagree. Vorbis, TrueHD and FFV1 in mp4 are experiments that hardly
# anything plays; the list for mov has what its muxer refuses; the list for Matroska leaves out what it
# holds "as a .wav would", the sound of old AVI and WMV files.
_NOT_HELD = {
    "mp4": frozenset({"vorbis", "truehd", "ffv1"}),
    "mov": frozenset({"av1", "flac", "opus", "truehd", "vp8", "vp9"}),
}
_HELD_AS_WAV = frozenset(
    {"adpcm_g722", "adpcm_ima_dk3", "adpcm_ima_dk4", "adpcm_ima_wav", "adpcm_ms", "adpcm_swf", "adpcm_yamaha", "gsm_ms"}
    | {"imc", "pcm_alaw", "pcm_mulaw", "truespeech", "wmalossless", "wmapro", "wmav1", "wmav2", "wmavoice"}
)

COVERS = {
    "mjpeg": (".jpg", "image/jpeg"),
    "png": (".png", "image/png"),
    "bmp": (".bmp", "image/bmp"),
    "gif": (".gif", "image/gif"),
    "tiff": (".tiff", "image/tiff"),
    "webp": (".webp", "image/webp"),
}
_COVERS_OF_MP4 = frozenset({"mjpeg", "png", "bmp"})

_KINDS = {
    "audio": "audio",
    "subtitles": "subtitle",
    "data": "data",
    "attachments": "attachment",
    "covers": "cover",
}
_TEXT_SUBTITLES = frozenset({"mov_text", "eia_608", "microdvd", "mpl2", "realtext", "sami", "stl", "subviewer"})


_ANY_SOUND = SourceStream(0, "audio", "pcm_s16le")


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What becomes of the source's streams, but for the picture, in a file that ends in `suffix`.

    `encoded` has the encoder for each of its streams: those that the container cannot hold as they are. `dropped` are
    left out as asked, `unfit` because nothing can be done.
    """

    suffix: str
    copied: tuple[SourceStream, ...] = ()
    encoded: tuple[tuple[SourceStream, str], ...] = ()
    dropped: tuple[SourceStream, ...] = ()
    unfit: tuple[SourceStream, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report: what is not in the output as it was in the source."""
        return (
            *(f"{s} becomes {encoder}: {self.suffix} cannot hold it as it is" for s, encoder in self.encoded),
            *(f"{stream} is left out, as asked" for stream in self.dropped),
            *(
                f"{stream} is left out: only one video is enhanced"
                if stream.kind == "video"
                else f"{stream} is left out: {self.suffix} cannot hold it"
                for stream in self.unfit
            ),
        )


def plan_streams(
    source: Contents | None,
    suffix: str | None,
    encode: EncodeConfig = EncodeConfig(),
    output: OutputConfig = OutputConfig(),
    *,
    video_index: int | None = None,
    leave_out: Collection[int] = (),
) -> StreamPlan:
    """Decide what becomes of each stream of `source`.

    Sound that Matroska cannot hold becomes FLAC, which loses nothing, and text subtitles become SubRip. Other
    containers take nothing but what fits them, and sound as AAC where `output.transcode_audio` says so. What Matroska
    cannot hold either (data tracks, teletext, sound that cannot be decoded) is left out and named in the notes.

    Args:
        source: what the file holds that is enhanced; None for images, which have a picture only.
        suffix: the container that the user insists on. None: the source's own where everything fits, else `.mkv`.
        encode: says the codec of the picture.
        output: what is dropped and transcoded.
        video_index: the source's stream that is enhanced; gives the notes the other videos.
        leave_out: indices of streams that do not count.

    Raises:
        OutputError: `suffix` is none of a container that can be written, or it cannot hold the picture's codec or a
            stream that another container could hold.
    """
    if suffix is not None and suffix.lower() not in FORMATS:
        raise OutputError(f"cannot write {suffix or 'a name without suffix'}: use one of {', '.join(FORMATS)}")
    # `auto` is h264 or hevc, which fit in the same containers; h264_nvenc and its like are named by their codec.
    codec = "h264" if encode.codec == "auto" else encode.codec.split("_")[0]
    streams = source.streams if source is not None else ()
    streams = tuple(stream for stream in streams if stream.index not in leave_out)
    if video_index is not None:
        streams = tuple(s for s in streams if s.index != video_index)
    else:
        streams = tuple(s for s in streams if s.kind != "video")
    if suffix is None:
        own = source.path.suffix.lower() if source is not None else ".mp4"
        fits = own in FORMATS and _holds_video(own, codec) and not _losses(_plan(streams, own, output), streams, output)
        return _plan(streams, own if fits else ".mkv", output)
    plan = _plan(streams, suffix.lower(), output)
    _refuse_losses(plan, _losses(plan, streams, output), source.path if source is not None else None, codec)
    return plan


def _plan(streams: Collection[SourceStream], suffix: str, output: OutputConfig) -> StreamPlan:
    dropped = tuple(s for s in streams if any(_KINDS.get(kind) == s.kind for kind in output.drop))
    kept = [stream for stream in streams if stream not in dropped]
    copied = tuple(stream for stream in kept if _holds(suffix, stream))
    encoders = {s: encoder for s in kept if s not in copied and (encoder := _encoder(suffix, s, output))}
    unfit = tuple(stream for stream in kept if stream not in copied and stream not in encoders)
    return StreamPlan(suffix, copied, tuple(encoders.items()), dropped, unfit)


def _losses(plan: StreamPlan, streams: Collection[SourceStream], output: OutputConfig) -> tuple[SourceStream, ...]:
    """Streams that would be in a Matroska file, but are not in this one."""
    in_matroska = _plan(streams, ".mkv", output).unfit
    return tuple(stream for stream in plan.unfit if stream not in in_matroska)


def _refuse_losses(plan: StreamPlan, losses: tuple[SourceStream, ...], source: Path | None, codec: str) -> None:
    if not _holds_video(plan.suffix, codec):
        way = " or give --codec av1" if plan.suffix == ".webm" else ""
        raise OutputError(f"{plan.suffix} cannot hold {codec} video: name the output .mkv{way}")
    if losses:
        kinds = {stream.kind for stream in losses}
        ways = [f"--drop {name}" for name, kind in _KINDS.items() if kind in kinds]
        if "audio" in kinds and _encoder(plan.suffix, _ANY_SOUND, OutputConfig(transcode_audio="aac")):
            ways[0] = "--transcode-audio aac"
        raise OutputError(
            f"{plan.suffix} cannot hold {', '.join(map(str, losses))} of {source}: "
            f"name the output .mkv or give {' and '.join(ways)}"
        )


def _holds_video(suffix: str, codec: str) -> bool:
    return codec in codecs_of(FORMATS[suffix])


def _holds(suffix: str, stream: SourceStream) -> bool:
    container = FORMATS[suffix]
    match stream.kind:
        case "video":
            return False
        case "cover":
            return stream.codec in {"mp4": _COVERS_OF_MP4, "matroska": COVERS}.get(container, ())
        case "attachment":
            return container == "matroska"
        case "data":
            # A timecode is also a tag, which Matroska has, too. Of other data, ffmpeg writes GoPro's only.
            return stream.codec == TIMECODE or (stream.codec == GOPRO and container in ("mp4", "mov"))
    return stream.codec in codecs_of(container)


def _encoder(suffix: str, stream: SourceStream, output: OutputConfig) -> str | None:
    """Encoder of ffmpeg for a stream that the container cannot hold as it is; None where there is none."""
    if stream.codec == UNKNOWN:
        return None
    if stream.kind == "audio":
        if output.transcode_audio is not None and suffix != ".webm":
            return output.transcode_audio
        return "flac" if suffix == ".mkv" else None
    return "subrip" if suffix == ".mkv" and stream.codec in _TEXT_SUBTITLES else None


@functools.cache
def codecs_of(container: str) -> frozenset[str]:
    """Names of the codecs that a container of ffmpeg's holds."""
    with av.open(os.devnull, "w", format=container) as muxer:
        listed = frozenset(map(_canonical_name, muxer.supported_codecs))
    return (listed | _HELD_AS_WAV if container == "matroska" else listed) - _NOT_HELD.get(container, frozenset())


def _canonical_name(coder: str) -> str:
    """Name of the codec that an encoder or decoder of PyAV's is for: `mp3` for `mp3float`."""
    for mode in ("r", "w"):
        with suppress(UnknownCodecError):
            return Codec(coder, mode).canonical_name
    return coder
