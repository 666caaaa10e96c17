"""What a media file is, from its header and its first frame."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.colour import chroma_location_of, colour_of, has_alpha
from vsr_pipeline.media.contents import Contents
from vsr_pipeline.media.input import video_streams
from vsr_pipeline.media.read.decoder import Decoder
from vsr_pipeline.media.read.interlace import is_top_field_first
from vsr_pipeline.media.read.pixels import bit_depth
from vsr_pipeline.media.read.side_data import SideDataReader, crop_of, described, hdr_metadata, orientation, plain_name
from vsr_pipeline.media.read.side_data_table import dolby_vision_of, is_profile_5, stream_losses
from vsr_pipeline.runtime.memory import refuse_absurd_size
from vsr_pipeline.timeline import VideoInfo

_MICROSECONDS = 1_000_000
_MACROBLOCK = 16
# Those of which some versions have a base layer with colours of its own.
_DOLBY_VISION_PROFILES = (8, 10, 20)

# Numbers of AVFieldOrder. The last two store the fields in another order than they are shown in; those that write and
# read them mean the field that is stored first.
_FIELD_ORDERS: dict[int, Literal["progressive", "tff", "bff"]] = {
    1: "progressive",
    2: "tff",
    3: "bff",
    4: "tff",
    5: "bff",
}


def probe(path: Path, settings: InputConfig = InputConfig()) -> VideoInfo:
    """Describe the video stream of a file that is enhanced; see `look_into`.

    Raises:
        InputError, ResourceError: as `look_into`.
    """
    return look_into(path, settings)[0]


def look_into(path: Path, settings: InputConfig = InputConfig()) -> tuple[VideoInfo, Contents]:
    """Open a file once and describe its video that is enhanced, and what else it holds.

    The video is the chosen one, else the default one, else the first. One frame is decoded: it alone says for certain
    how the picture is turned, and whether there is one.

    Raises:
        InputError: the file is missing, is no video, has no such video stream, nothing of it can be decoded, it is one
            picture made of tiles, or Dolby Vision whose colours cannot be read.
        ResourceError: a frame and its enlargement cannot fit into memory.
    """
    with Decoder(path, settings.video_stream, frame_threads=False) as decoder:
        of_stream, groups = described(decoder.container, decoder.stream.index)
        _refuse_tiles(path, groups)
        contents = decoder.contents(to_the_end=not settings.is_part)
        notes = (*stream_losses(of_stream, groups, decoder.stream.metadata), *_other_videos(decoder))
        frame = next(decoder.frames(), None)
        if frame is None:
            raise InputError(f"no frame of {path} can be decoded: it is damaged or encrypted")
        container, stream = decoder.container, decoder.stream
        side_data = dict(SideDataReader()(frame))
        if settings.dolby_vision == "refuse":
            _refuse_own_colours(path, of_stream, side_data.get("DOVI_METADATA"))
        rotation_degrees, mirrored = orientation(frame, side_data)
        width, height = _size(decoder, frame)
        refuse_absurd_size(path, width, height, bits=bit_depth(frame.format))
        codec = stream.codec_context.codec.canonical_name
        videos = video_streams(container)
        info = VideoInfo(
            path=path,
            container=container.format.name,
            codec=codec,
            stream_index=stream.index,
            width=width,
            height=height,
            pixel_format=frame.format.name,
            bit_depth=bit_depth(frame.format),
            time_base=decoder.time_base,
            average_frame_rate=stream.average_rate or stream.guessed_rate,
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            rotation_degrees=rotation_degrees,
            mirrored=mirrored,
            colour=replace(colour_of(frame), chroma_location=chroma_location_of(frame, codec)),
            frame_count_from_header=stream.frames or None,
            duration_seconds_from_header=_duration_seconds(container, stream),
            audio_streams=len(container.streams.audio),
            subtitle_streams=len(container.streams.subtitles),
            video_streams=len(videos),
            video_stream=[video.index for video in videos].index(stream.index),
            field_order=_field_order(decoder, frame),
            has_alpha=has_alpha(frame.format) or _alpha_in_a_stream_of_its_own(stream),
            hdr=hdr_metadata(side_data),
            upright=not settings.keep_rotation,
            crop=crop_of(of_stream, width, height),
        )
        return info, replace(contents, notes=notes)


def _other_videos(decoder: Decoder) -> Iterator[str]:
    """Name the video streams that are not enhanced."""
    for number, stream in enumerate(video_streams(decoder.container)):
        if stream.index != decoder.stream.index:
            coded = cast("VideoCodecContext | None", stream.codec_context)  # none without a decoder
            what = f"{coded.codec.canonical_name} {coded.width}x{coded.height}" if coded else "of an unknown codec"
            yield f"video stream {number} ({what}) is not enhanced and left out"


def _refuse_tiles(path: Path, groups: Iterable[str]) -> None:
    """Refuse a picture of which each stream is a part: only one of them would be enhanced."""
    if any(plain_name(group) == "tilegrid" for group in groups):
        raise InputError(f"{path} is one picture made of tiles, which are not joined: save it as PNG or JPEG first")


def _refuse_own_colours(path: Path, side_data: Mapping[str, str], metadata: SideData | None) -> None:
    """Refuse Dolby Vision whose base layer is no picture that others can show: its colours are in IPT-PQ."""
    profile, compatibility = dolby_vision_of(side_data)
    if profile == 0 and metadata is not None and is_profile_5(bytes(memoryview(metadata))):
        profile = 5
    if profile == 5 or (profile in _DOLBY_VISION_PROFILES and compatibility == 0):
        raise InputError(
            f"{path} is Dolby Vision profile {profile}, whose colours cannot be read: convert it to HDR10 first, "
            "or give --dolby-vision ignore for wrong colours"
        )


def _alpha_in_a_stream_of_its_own(stream: VideoStream) -> bool:
    """Whether VP8 or VP9 in WebM or Matroska carries transparency beside the picture, where its decoder leaves it."""
    return any(name.lower() == "alpha_mode" and value == "1" for name, value in stream.metadata.items())


def _field_order(decoder: Decoder, frame: VideoFrame) -> Literal["progressive", "tff", "bff", "unknown"]:
    said = _FIELD_ORDERS.get(decoder.field_order_from_header)
    if said in (None, "progressive") and frame.interlaced_frame:
        return "tff" if is_top_field_first(frame) else "bff"
    return said or "unknown"


def _size(decoder: Decoder, frame: VideoFrame) -> tuple[int, int]:
    """Size as coded: the header's, unless the first frame only differs by a border that is cropped.

    A stream whose size changes may begin small; scaling the rest down to that would throw the picture away.
    """
    width, height = decoder.size_from_header
    if abs(width - frame.width) < _MACROBLOCK and abs(height - frame.height) < _MACROBLOCK:
        return frame.width, frame.height
    return (width, height) if width and height else (frame.width, frame.height)


def _duration_seconds(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    return Fraction(container.duration, _MICROSECONDS) if container.duration is not None else None
