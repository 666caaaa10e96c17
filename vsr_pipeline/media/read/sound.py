"""What a packet of sound is, by its own words: a stream may become another one where recordings were joined."""

from dataclasses import dataclass

import av.error
from av.audio.codeccontext import AudioCodecContext
from av.codec import CodecContext
from av.packet import Packet
from av.stream import Stream

# Codecs of broadcasts and DVDs whose packets say all that their decoder has to know.
_TELLING = frozenset({"aac", "ac3", "dts", "eac3", "mp2", "mp3"})


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How a sound is coded."""

    codec: str
    sample_rate: int
    channels: int

    def __str__(self) -> str:
        return f"{self.codec} of {self.sample_rate} Hz and {self.channels} channel{'s' if self.channels > 1 else ''}"


def format_of_stream(stream: Stream) -> SoundFormat | None:
    """Return what the header says; None where packets of this codec do not say it themselves."""
    context = stream.codec_context
    if not isinstance(context, AudioCodecContext) or context.codec.canonical_name not in _TELLING:
        return None
    if context.extradata:
        return None  # packets do not say again what stands there
    return SoundFormat(context.codec.canonical_name, context.sample_rate, context.channels)


def format_of_packet(codec: str, data: bytes) -> SoundFormat | None:
    """Return what a packet says that is meant to be of a codec; None: it is not."""
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, AudioCodecContext)
    try:
        frames = [*decoder.decode(Packet(data)), *decoder.decode(None)]
    except av.error.FFmpegError:
        return None
    return SoundFormat(codec, frames[0].sample_rate, len(frames[0].layout.channels)) if frames else None
