"""Which encoders work on this machine, and whether a user's settings of one can be meant."""

import difflib
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.codec.codec import UnknownCodecError
from av.codec.context import OptionFlags
from av.video.codeccontext import VideoCodecContext

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.media.log import listening
from vsr_pipeline.media.write.codecs import AUTO, CODECS, Codec, find_codec
from vsr_pipeline.timeline import VideoInfo

# Hardware encoders refuse smaller pictures.
_TRIAL_SIZE = (256, 256)
# Every encoder of the table that runs on the CPU takes what is inside these; larger frames cost time and memory to try.
_SIZES_THAT_ARE_SAFE = range(64, 8193)
# What the writer sets by what it writes; another value would make a file that lies.
_NOT_FOR_USERS = {
    "colorspace", "color_range", "color_primaries", "color_trc", "chroma_sample_location", "pixel_format",
    "video_size", "time_base", "sar", "aspect", "field_order",
}  # fmt: skip
# Encoders only warn about these inside their own lists (x265-params and its like), and go on without.
_NOT_UNDERSTOOD = re.compile(r"Unknown option|Error parsing option|Invalid value")


def codec_for(settings: EncodeConfig, info: VideoInfo) -> EncodeConfig:
    """Settings with the codec that `auto` means for this source: hevc for PQ and HLG, h264 for all others."""
    if settings.codec != AUTO:
        return settings
    return settings.model_copy(update={"codec": "hevc" if info.is_hdr else "h264"})


def track_suffix(settings: EncodeConfig) -> str:
    """Suffix of the files that hold a track of this codec with exact timestamps.

    Raises:
        UsageError: there is no such codec.
    """
    return find_codec(settings.codec).suffix


def open_encoder(context: av.CodecContext) -> None:
    """Open an encoder; its threads get no priority over the rest of the machine.

    As root, SVT-AV1 gives its threads real-time priority: nothing else would run while it encodes.
    """
    context.open()
    if sys.platform != "linux":
        return
    for thread in (int(folder.name) for folder in Path("/proc/self/task").iterdir()):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def check_encoder(settings: EncodeConfig, *, size: tuple[int, int] | None = None, bit_depth: int = 8) -> None:
    """Check before any work that these settings can be used here, by encoding one frame.

    Args:
        settings: the user's.
        size: (width, height) of the frames that will be encoded, where it is known.
        bit_depth: of the source, likewise.

    Raises:
        UsageError: the codec, the preset or an option is unknown, or this machine lacks the hardware.
        OutputError: the encoder cannot do this size or this depth.
    """
    codec = find_codec(settings.codec)
    name = "h264" if settings.codec == AUTO else settings.codec
    try:
        context = av.CodecContext.create(codec.encoder, "w")
    except UnknownCodecError as error:
        raise UsageError(
            f"this build of PyAV has no encoder {codec.encoder}: --codec is one of {', '.join(available_codecs())}"
        ) from error
    if settings.preset is not None and settings.preset not in codec.presets:
        allowed = (
            f"known are {', '.join(codec.presets)}" if codec.presets else "it has none, leave --encoder-preset out"
        )
        raise UsageError(f"{name} has no preset {settings.preset!r}: {allowed}")
    _check_names(settings.encoder_options, context, name)
    if codec.hardware and (reason := _refusal(codec, EncodeConfig(codec=name))):
        raise UsageError(
            f"{name} does not work on this machine ({reason}): --codec is one of {', '.join(available_codecs())}"
        )
    if reason := _refusal(codec, settings):
        raise UsageError(f"{name} refuses --encoder-preset or --encoder-option: {reason}")
    pixel_format_for(codec, bit_depth)
    if size is None or (not codec.hardware and all(length in _SIZES_THAT_ARE_SAFE for length in size)):
        return
    if reason := _refusal(codec, settings, size, bit_depth):
        raise _size_failure(codec, size, reason)


def _check_names(options: Mapping[str, str], context: av.CodecContext, codec: str) -> None:
    offered = context.supported_options
    private = {option.name for option in offered.private}
    generic = {option.name for option in offered.generic if option.flags & OptionFlags.ENCODING_PARAM}
    for name in options:
        if name in _NOT_FOR_USERS:
            raise UsageError(f"--encoder-option {name}: follows from the source and cannot be set")
        if name not in private | generic:
            close = difflib.get_close_matches(name, private | generic, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"its own are {', '.join(sorted(private))}"
            raise UsageError(f"--encoder-option {name}: {codec} has no such option; {hint}")


def available_codecs() -> tuple[str, ...]:
    """Names of the codecs that work on this machine: each has encoded a frame."""
    return tuple(name for name, codec in CODECS.items() if _refusal(codec, EncodeConfig(codec=name)) is None)


def pixel_format_for(codec: Codec, bit_depth: int) -> str:
    """Pixel format that keeps a source's depth.

    Raises:
        OutputError: the encoder has none.
    """
    pixel_format = codec.pixel_format_for(bit_depth)
    if pixel_format is None:
        raise OutputError(f"{codec.encoder} cannot encode more than 8 bits, the source has {bit_depth}: --codec hevc")
    return pixel_format


def _size_failure(codec: Codec, size: tuple[int, int], reason: str) -> OutputError:
    """Make the error for a size that an encoder refuses; it names those that can do it."""
    able = [
        name
        for name in ("h264", "hevc", "av1", "ffv1")
        if CODECS[name] is not codec and _refusal(CODECS[name], EncodeConfig(codec=name), size) is None
    ]
    advice = f"use --codec {' or '.join(able)}" if able else "no codec here can, write images instead"
    return OutputError(f"{codec.encoder} cannot encode {size[0]}x{size[1]} frames ({reason}): {advice}")


def _refusal(
    codec: Codec, settings: EncodeConfig, size: tuple[int, int] = _TRIAL_SIZE, bit_depth: int = 8
) -> str | None:
    """Why the encoder does not encode one frame with these settings; None if it does."""
    quiet_encoders()
    try:
        context = av.CodecContext.create(codec.encoder, "w")
    except UnknownCodecError:
        return f"this build of PyAV has no encoder {codec.encoder}"
    assert isinstance(context, VideoCodecContext)
    pixel_format = codec.pixel_format_for(bit_depth)
    assert pixel_format is not None
    # Even, as the writer makes it where chroma is subsampled.
    context.width, context.height = (length + length % 2 for length in size)
    context.pix_fmt = pixel_format
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = codec.options(settings)
    with listening() as said:
        try:
            open_encoder(context)
            frame = av.VideoFrame(context.width, context.height, pixel_format)
            # Else it holds what lay in memory, and x264 aborts the process on samples above what 10 bits can say.
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            count = len(context.encode(frame)) + len(context.encode(None))
        except (av.FFmpegError, ValueError) as error:
            failure = getattr(error, "strerror", None) or str(error)
            return _sentence(said[-1]) if said else failure
    misread = [entry for entry in said if _NOT_UNDERSTOOD.search(entry[2])]
    if misread:
        return _sentence(misread[0])
    return None if count == 1 else f"it made {count} packets of one frame"


def _sentence(entry: tuple[int, str, str]) -> str:
    """What FFmpeg said, as a part of a sentence."""
    return " ".join(entry[2].split()).rstrip(".")


def quiet_encoders() -> None:
    """Keep SVT-AV1 from telling its settings on stderr; it listens to nothing but this variable, read at its start."""
    os.environ.setdefault("SVT_LOG", "0")
