"""The finished file: the enhanced picture with everything else of the source, copied packet by packet."""

import math
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import ffmpeg

from vsr_pipeline.config import EncodeConfig, OutputConfig
from vsr_pipeline.media.contents import TIMECODE, Contents, SourceStream
from vsr_pipeline.media.ffmpeg import file_url, input_file, output_file, run_ffmpeg
from vsr_pipeline.media.input import open_input
from vsr_pipeline.media.streams.cut import Span, later_timecode, write_chapters
from vsr_pipeline.media.streams.moved import MovedStream, move_streams
from vsr_pipeline.media.streams.plan import COVERS, FORMATS, StreamPlan, codecs_of, plan_streams
from vsr_pipeline.runtime.files import status_of_file, write_failure
from vsr_pipeline.timeline import ClockPart

# Edit lists count in the movie's time scale; with at least this many units per second a sound starts right to 11 us.
_FINE_TIMESCALE = 90_000
_AAC_KBITS_PER_CHANNEL = 96
# Opus needs 80 ms to get ready, AAC at most 60.
_LONGEST_PRIMING_SECONDS = Fraction(1, 10)


def mux(
    video_track: Path,
    source: Contents | None,
    output: Path,
    *,
    source_video_index: int | None = None,
    origin: Fraction = Fraction(0),
    span: tuple[Fraction, Fraction | None] | None = None,
    leave_out: Collection[int] = (),
    transcode_audio: Literal["aac"] | None = None,
    drop: Collection[str] = (),
    rotation: tuple[int, bool] | None = None,
    clock_parts: Sequence[ClockPart] = (),
    last_duration: Fraction | None = None,
) -> None:
    """Write `output`: the video of `video_track`, and the source's sound, subtitles, data, chapters, covers and tags.

    What the container holds is copied packet by packet; see `plan_streams` for the rest. The clock is the source's, so
    that everything starts when it did there; Matroska rounds to milliseconds.

    Args:
        video_track: a file of `VideoWriter`.
        source: what the file holds that was enhanced; its videos are left out, but covers are kept. None: the picture
            alone.
        output: where to write, overwritten if it exists; its suffix says the container: see `plan_streams`.
        source_video_index: the source's stream that was enhanced; gives the video's language and title.
        origin: source time in seconds that is 0 in `video_track` and in the output: see `origin_ticks`.
        span: source seconds [start, end) that all other streams and the chapters are cut to: whole packets of sound
            and data that begin inside, subtitles that are seen inside. None for the end: until the source's.
        leave_out: indices of source streams that are not copied.
        transcode_audio: how sound is encoded that the container cannot hold.
        drop: kinds of streams that are left out, as in `OutputConfig.drop`.
        rotation: what a player has to do to show the picture upright, as in `VideoInfo`: degrees clockwise, and whether
            it is mirrored then. None: it is upright already.
        clock_parts: of the source's clock, as in its `Timeline`: sound and subtitles are moved as the picture was.
        last_duration: seconds that the last frame is shown; tells Matroska how long the picture is.

    Raises:
        InputError: the source is gone, or cannot be read.
        OutputError: `output` cannot be written, or its container cannot hold one of the streams (all are named).
        ResourceError: the disk is full.
    """
    if source is not None:
        status_of_file(source.path)
    codec, time_base = _coding_of(video_track)
    wanted = OutputConfig.model_validate({"transcode_audio": transcode_audio, "drop": tuple(drop)})
    plan = plan_streams(source, output.suffix, EncodeConfig(codec=codec), wanted, leave_out=leave_out)
    options = _container_options(plan.suffix, codec, time_base, last_duration)
    what = f"writing {output}" if source is None else f"joining the new picture and the other streams of {source.path}"
    with tempfile.TemporaryDirectory() as folder:
        inputs = [_picture(video_track, rotation)]
        repeated: list[str] = []
        if source is not None:
            cut = None if span is None else Span.of_source(span, origin)
            rest = _Rest(source, plan, origin, cut, Path(folder), tuple(clock_parts))
            inputs += rest.inputs()
            options |= rest.options(with_chapters="chapters" not in drop)
            repeated = rest.tags(source_video_index, with_timecode="data" not in drop) + rest.attached_covers()
        run_ffmpeg(ffmpeg.output(*inputs, output_file(output), **options), what=what, repeated_options=repeated)


def origin_ticks(source: Contents, time_base: Fraction, first_pts: int, *, drop: Collection[str] = ()) -> int:
    """Return the tick of `source` that becomes 0 in the output.

    The clock of a recorded broadcast (a transport stream, and what else receivers write) begins anywhere: there, 0 is
    when the first of the picture and the kept sound and subtitles begins. Any other container's clock begins at 0, and
    what begins later does so for a reason; the origin is earlier than that only for a picture that is.

    Args:
        source: what the file holds that is enhanced.
        time_base: seconds per tick of its picture.
        first_pts: tick of the first frame.
        drop: kinds of streams that are left out, as in `OutputConfig.drop`.
    """
    if not source.is_broadcast:
        return min(0, first_pts)
    plan = plan_streams(source, ".mkv", output=OutputConfig.model_validate({"drop": tuple(drop)}))
    kept = (*plan.copied, *(stream for stream, _ in plan.encoded))
    starts = [s.start_seconds for s in kept if s.kind in ("audio", "subtitle") and s.start_seconds is not None]
    return min([first_pts, *(math.floor(seconds / time_base) for seconds in starts)])


def _picture(video_track: Path, rotation: tuple[int, bool] | None) -> Any:  # noqa: ANN401 (ffmpeg-python has no types)
    if rotation is None:
        return input_file(video_track)["v:0"]
    degrees, mirrored = rotation
    matrix: dict[str, str | int | None] = {"display_rotation:v:0": -degrees}  # ffmpeg counts counter-clockwise
    if mirrored:
        matrix["display_hflip:v:0"] = None
    return input_file(video_track, **matrix)["v:0"]


def _coding_of(video_track: Path) -> tuple[str, Fraction]:
    """Return the codec of a video track, and its time base."""
    with av.open(file_url(video_track)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return stream.codec_context.codec.canonical_name, stream.time_base


def _container_options(
    suffix: str, codec: str, time_base: Fraction, last_duration: Fraction | None
) -> dict[str, str | int | None]:
    options: dict[str, str | int | None] = {
        "format": FORMATS[suffix],
        "c": "copy",
        "copyts": None,  # times as they are, not moved to 0 for each input
        "copypriorss": 1,  # the encoder's priming lies before time 0 and belongs to the sound
        "disposition:v:0": "default",
    }
    if FORMATS[suffix] in ("matroska", "webm"):
        # What lies before 0, such as the start of Vorbis from Ogg, stays there, and does not move all else later.
        options["avoid_negative_ts"] = "disabled"
        if last_duration is not None:
            # A packet of the track lasts until the next one is decoded; here it counts when the last frame ends.
            options["bsf:0"] = f"setts=pts=PTS:dts=DTS:duration={float(last_duration):.9f}/TB"
    if FORMATS[suffix] in ("mp4", "mov"):
        # These keep the ticks of the track.
        options["video_track_timescale"] = time_base.denominator
        options["movie_timescale"] = time_base.denominator * math.ceil(_FINE_TIMESCALE / time_base.denominator)
        options["movflags"] = "+faststart+write_colr"
        if codec == "hevc":
            options["tag:v:0"] = "hvc1"  # Apple's players open nothing else
    return options


@dataclass(frozen=True, slots=True)
class _Rest:
    """The source as ffmpeg's second input: all but the picture."""

    source: Contents
    plan: StreamPlan
    origin: Fraction
    cut: Span | None
    folder: Path
    """For files that are only needed while ffmpeg runs."""
    clock_parts: tuple[ClockPart, ...]

    @property
    def is_matroska(self) -> bool:
        return FORMATS[self.plan.suffix] == "matroska"

    @property
    def covers_as_files(self) -> list[SourceStream]:
        """In Matroska a cover is an attached file; copied as a stream it would become a second video."""
        return [stream for stream in self.plan.copied if stream.kind == "cover" and self.is_matroska]

    def mapped(self) -> list[tuple[SourceStream, str | None]]:
        """Streams that go to the output as streams, in the source's order, with their encoder."""
        copied = [stream for stream in self.plan.copied if stream.codec != TIMECODE]
        kept = [(stream, None) for stream in copied if stream not in self.covers_as_files]
        return sorted([*kept, *self.plan.encoded], key=lambda pair: pair[0].index)

    def inputs(self) -> list[Any]:
        """Input streams, in the order of `mapped`."""
        shift = {"itsoffset": f"{float(-self.origin):.6f}"} if self.origin else {}
        # ffmpeg leaves out data whose packets all last no time, unless told not to.
        rest = input_file(self.source.path, discard="none", **shift)
        # ffmpeg numbers its inputs in the order in which they are mapped: the source is 1. Where nothing of it is
        # copied, a stream that may be missing, and is, still makes it an input, for its tags and chapters.
        moved, trimmed = self._moved(), self._trimmed()
        inputs = [rest["9999?"]] if moved or trimmed or not self.mapped() else []
        for stream, _ in self.mapped():
            if stream.index in moved:
                place = moved[stream.index]
                back = f"{float(-self.origin - place.later):.6f}"
                inputs.append(input_file(place.path, itsoffset=back, discard="none")[str(place.index)])
            elif stream.index in trimmed:
                inputs.append(input_file(trimmed[stream.index], discard="none", **shift)["0"])
            else:
                inputs.append(rest[str(stream.index)])
        if self.cut is None:
            return inputs
        chapters = self.folder / "chapters.txt"
        write_chapters(chapters, self.source.chapters, self.cut, self.origin)
        return [*inputs, input_file(chapters)["9999?"]]

    def _moved(self) -> dict[int, MovedStream]:
        """Streams that are read from copies of their own, because the clock of the source jumps.

        Of a part, everything behind it is another recording, perhaps, whose clock counts the same times again.
        """
        streams = [stream for stream, _ in self.mapped() if stream.kind in ("audio", "subtitle")]
        if not streams or not (self.clock_parts or (self.source.clock_may_jump and self.cut is not None)):
            return {}
        stop = None if self.cut is None or self.cut.stop is None else self.cut.stop + self.origin
        return move_streams(self.source.path, streams, self.clock_parts, self.folder, stop=stop)

    def options(self, *, with_chapters: bool) -> dict[str, str | int | None]:
        """Options of the output for the streams of `mapped`, the global tags and the chapters."""
        options: dict[str, str | int | None] = {
            "map_metadata": 1,
            "map_chapters": (1 if self.cut is None else 2) if with_chapters else -1,
        }
        for number, (stream, encoder) in enumerate(self.mapped(), start=1):
            if encoder is not None:
                options |= {f"c:{number}": encoder}
            if encoder is not None and stream.kind == "audio":
                options |= {f"{name}:{number}": value for name, value in self._sound_options(stream, encoder).items()}
            elif self.cut is not None and stream.kind in ("audio", "data"):
                options[f"bsf:{number}"] = self.cut.packet_filter()
            elif self.cut is not None and stream.kind == "subtitle":
                options[f"bsf:{number}"] = self.cut.subtitle_filter()
        return options

    def _trimmed(self) -> dict[int, Path]:
        """Sounds that are read from copies of their own, because too much of them is hidden."""
        if not self.is_matroska or not self.source.is_quicktime:
            return {}
        sounds = [stream for stream, encoder in self.mapped() if stream.kind == "audio" and encoder is None]
        return {sound.index: path for sound in sounds if (path := self._without_hidden(sound)) is not None}

    def _without_hidden(self, sound: SourceStream) -> Path | None:
        """Write a sound of which an edit list hides the beginning to a file of its own that holds no more than priming.

        Matroska has no edit list: all that lies before the beginning would be priming there, and make it longer. None:
        nothing much is hidden.
        """
        with open_input(self.source.path) as container:
            stream = container.streams[sound.index]
            first = next((packet.pts for packet in container.demux(stream) if packet.pts is not None), None)
            if Fraction(first or 0) * (stream.time_base or 0) >= -_LONGEST_PRIMING_SECONDS:
                return None
        name = "mp4" if sound.codec in codecs_of("mp4") else "mov"
        path = self.folder / f"sound{sound.index}.{name}"
        start = -_LONGEST_PRIMING_SECONDS
        if self.cut is not None and self.cut.start is not None:
            start = self.cut.start + self.origin
        kept = Span(start, None).packet_filter()
        options = {"format": name, "c": "copy", "copyts": None, "copypriorss": 1, "bsf": kept}
        options["movie_timescale"] = _FINE_TIMESCALE
        node = ffmpeg.output(input_file(self.source.path)[str(sound.index)], output_file(path), **options)
        run_ffmpeg(node, what=f"copying the sound of {self.source.path}")
        return path

    def _sound_options(self, sound: SourceStream, encoder: str) -> dict[str, str]:
        """Options for a sound that is encoded."""
        options = {} if self.cut is None else {"filter": self.cut.sound_filter()}
        if encoder == "aac":
            options["b"] = f"{_AAC_KBITS_PER_CHANNEL * sound.channels}k"
            begin = (sound.start_seconds or Fraction(0)) - self.origin
            if self.cut is not None and self.cut.start is not None:
                begin = max(begin, self.cut.start)
            if begin > 0 and not self.is_matroska:
                # The encoder's priming would be heard as the beginning: mp4 can hide only what lies before 0.
                options["bsf"] = Span(begin, None).packet_filter()
        return options

    def tags(self, video_index: int | None, *, with_timecode: bool) -> list[str]:
        """Language, title and timecode of the source's video; its other tags (bit rate...) are not true any more."""
        video = self.source.stream(video_index) if video_index is not None else None
        tags = {name.lower(): value for name, value in video.tags} if video else {}
        is_apple = any("." in name for name, _ in self.source.tags)
        timecode = self._timecode(video)
        kept = [f"{tag}={tags[tag]}" for tag in ("language", "title") if tag in tags]
        options = [word for tag in kept for word in ("-metadata:s:v:0", tag)]
        options += ["-metadata", "timecode="]
        is_quicktime = FORMATS[self.plan.suffix] in ("mp4", "mov")
        if timecode is not None and with_timecode:
            text, frame_rate = timecode
            options += ["-metadata:s:v:0", f"timecode={text}"]
            # The timecode track counts at this rate; it is announced, no frame is moved.
            options += ["-write_tmcd", "1", "-r:v:0", str(frame_rate)] if is_quicktime else []
        if is_quicktime and is_apple and not any(stream.kind == "cover" for stream in self.plan.copied):
            # The only place for tags such as com.apple.quicktime.make; covers have their place in the other list.
            options += ["-movflags", "+faststart+write_colr+use_metadata_tags"]
        return options

    def _timecode(self, video: SourceStream | None) -> tuple[str, Fraction] | None:
        """Timecode of the first frame of the output, and the frame rate at which it counts."""
        holders = [*([video.tags] if video else []), self.source.tags, *(s.tags for s in self.source.streams)]
        text = next((value for tags in holders for name, value in tags if name.lower() == "timecode"), None)
        if text is None or video is None or video.frame_rate is None:
            return None
        if self.cut is not None and self.cut.start is not None:
            begin = (video.start_seconds or Fraction(0)) - self.origin
            text = later_timecode(text, max(self.cut.start - begin, Fraction(0)), video.frame_rate)
        return text, video.frame_rate

    def attached_covers(self) -> list[str]:
        """Write covers that Matroska keeps as files; return the options that attach them."""
        attachments = sum(stream.kind == "attachment" for stream in self.plan.copied)
        options: list[str] = []
        for number, cover in enumerate(self.covers_as_files):
            suffix, mime_type = COVERS[cover.codec]
            path = self.folder / f"cover{'' if number == 0 else number}{suffix}"
            with open_input(self.source.path) as container:
                packets = container.demux(container.streams[cover.index])
                data = bytes(next(packet for packet in packets if packet.size))
            try:
                path.write_bytes(data)
            except OSError as error:
                raise write_failure(path, error) from error
            options += ["-attach", str(path), f"-metadata:s:t:{attachments + number}", f"mimetype={mime_type}"]
        return options
