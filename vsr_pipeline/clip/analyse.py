"""One pass over a whole clip: the exact time of every frame, its cuts, its fields, what there is to say of it."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

import av.error
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vsr_pipeline.clip.frame_times import FrameTimes
from vsr_pipeline.clip.missing import missing_seconds
from vsr_pipeline.clip.repeats import RepeatFinder
from vsr_pipeline.clip.shots import ANALYSIS_WIDTH, CutDetector
from vsr_pipeline.config import InputConfig
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.colour import SWSCALE_THREADS, coding_of, is_rgb, matrix_for_swscale
from vsr_pipeline.media.contents import Contents
from vsr_pipeline.media.read.decode import FrameSource
from vsr_pipeline.media.read.interlace import FieldMeter, decide
from vsr_pipeline.media.read.jumps import JumpFinder
from vsr_pipeline.media.read.pixels import ALPHA_NOTE, size_note
from vsr_pipeline.media.read.side_data import SideDataReader
from vsr_pipeline.media.read.side_data_table import FrameLosses, packet_losses
from vsr_pipeline.media.tint import TintFinder, tint_note
from vsr_pipeline.timeline import Analysis, Crop, Timeline, VideoInfo

_USUAL_FRAME_RATE = Fraction(25)
_GUESSED_STEP_SECONDS = Fraction(1, 250)
"""A last frame that is shown for no longer is so by a guess, unless others are, too."""
_REORDERED_FRAMES = 16
"""No codec shows a frame later, by more frames, than it decodes it."""


def analyse(
    info: VideoInfo,
    contents: Contents,
    settings: InputConfig,
    *,
    on_frame: Callable[[], None] | None = None,
    is_enough: Callable[[int], bool] | None = None,
) -> Analysis:
    """Decode a file once and return what it is.

    Frames are made small before anything keeps them, but for the latest: memory depends on the decoder alone.

    Args:
        info: its video, as `look_into` gives it.
        contents: what else the file holds, as `look_into` gives it.
        settings: how it is read.
        on_frame: called after each frame but the one that is enough.
        is_enough: called with each frame's timestamp; what follows the first True is neither decoded nor missed.

    Raises:
        InputError: the file cannot be read, nothing of it can be decoded, or it is interlaced and that is refused.
        ResourceError: its frames do not fit into memory.
    """
    notes = [*contents.notes, *_about_the_picture(info)]
    jumps = JumpFinder()
    source = FrameSource(info.path, settings.video_stream, clock_may_jump=contents.clock_may_jump, jumps=jumps)
    times = FrameTimes(info.time_base, jumps)
    meters = _Meters(info, with_repeats=settings.skip_duplicates)
    last: VideoFrame | None = None
    is_whole = True
    for last, is_whole, is_end in _until_enough(source, times, is_enough):
        notes += [size_note(last, info)] if (last.width, last.height) != (info.width, info.height) else []
        meters.feed(last, is_whole=is_whole)
        if on_frame is not None and not is_end:
            on_frame()
    assert last is not None, "a source without frames raises"
    found = (*meters.losses.sentences, *packet_losses(source.packet_side_data, has_alpha=info.has_alpha))
    notes += [loss for loss in found if not any(note.startswith(loss) for note in notes)]
    shown = times.shown(info.stream_index)
    notes += (*shown.notes, *(jumps.note_on_rest(info.stream_index) if is_whole else ()))
    timeline = Timeline(
        time_base=info.time_base,
        pts=shown.pts,
        last_duration=_last_duration(shown.pts, last, info),
        cuts=meters.detector.cuts,
        deinterlace=decide(info, meters.fields, settings.interlaced, notes),
        tints=meters.tints.of_shots(meters.detector.cuts),
        coded_pts=() if shown.pts == tuple(times.coded) else tuple(times.coded),
        clock_parts=shown.clock_parts,
    )
    missing = missing_seconds(info, contents, timeline, source.hidden_frames) if is_whole else Fraction(0)
    if settings.interlaced == "bwdif-double" and timeline.deinterlace is not None:
        timeline = timeline.doubled()
    return Analysis(
        timeline=timeline.with_repeats(meters.finder.repeats) if meters.finder is not None else timeline,
        decode_errors=source.decode_errors,
        hidden_frames=source.hidden_frames,
        missing_seconds=missing,
        notes=tuple(dict.fromkeys((*notes, *tint_note(timeline.tints)))),
    )


def _until_enough(
    source: FrameSource, times: FrameTimes, is_enough: Callable[[int], bool] | None
) -> Iterator[tuple[VideoFrame, bool, bool]]:
    """Yield frames, each with whether it is of the part that is wanted, and whether it is the last that is read.

    Where frames are out of order, those that belong before the one that is enough may come after it.
    """
    is_whole, left = True, 0
    for frame in source.all():
        about = times.add(frame.pts, frame.picture)
        if is_whole and is_enough is not None and is_enough(about):
            is_whole = False
            left = _REORDERED_FRAMES if times.is_out_of_order else 0
        is_end = not is_whole and left == 0
        yield frame.picture, is_whole, is_end
        if is_end:
            return
        left -= not is_whole


class _Meters:
    """What is measured of the pixels of each frame."""

    def __init__(self, info: VideoInfo, *, with_repeats: bool) -> None:
        self.detector = CutDetector()
        self.fields = FieldMeter(_expected_frames(info))
        self.losses = FrameLosses(info.width, info.height)
        self.tints = TintFinder(info)
        self.finder = RepeatFinder() if with_repeats else None
        self._path = info.path
        self._shrink = _Shrinker(info)
        self._side_data = SideDataReader()

    def feed(self, picture: VideoFrame, *, is_whole: bool) -> None:
        """Look at the next frame; with `is_whole` unset, its tint does not count.

        Raises:
            InputError: FFmpeg cannot convert frames of this format.
        """
        try:
            self.detector.feed(self._shrink(picture))
            self.fields.feed(picture)
            self.losses.feed(self._side_data(picture))
            if is_whole:
                self.tints.feed(picture)
            else:
                self.tints.skip()
            if self.finder is not None:
                self.finder.feed(picture)
        except av.error.FFmpegError as error:
            raise InputError(
                f"cannot convert frames of {self._path}: {picture.format.name} ({error.strerror})"
            ) from error


class _Shrinker:
    """Makes frames as small as the detector of cuts wants them."""

    def __init__(self, info: VideoInfo) -> None:
        height = max(1, round(ANALYSIS_WIDTH * info.height / info.width))
        self._size = (ANALYSIS_WIDTH, height) if info.width > ANALYSIS_WIDTH else (info.width, info.height)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return (H, W, 3) BGR."""
        small = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="bgr24",
            src_colorspace=matrix_for_swscale(frame),
            interpolation=Interpolation.AREA,
            threads=SWSCALE_THREADS,
        )
        return np.asarray(small.to_ndarray(), dtype=np.uint8)


def _about_the_picture(info: VideoInfo) -> Iterator[str]:
    """Say what is assumed about the colours, and what is lost."""
    pixel_format = VideoFormat(info.pixel_format)
    if not is_rgb(pixel_format):
        yield from coding_of(info.colour, pixel_format, width=info.width, height=info.height)[1]
    if info.crop != Crop():
        width, height = info.display_size if info.rotation_degrees % 180 == 0 else info.display_size[::-1]
        yield f"the container crops the picture of {info.width}x{info.height} to {width}x{height}"
    if info.has_alpha:
        yield ALPHA_NOTE
    if info.is_hdr:
        name = "PQ" if info.colour.transfer == "smpte2084" else "HLG"
        yield f"the picture is HDR ({name}) and processed as coded: the model was trained on SDR"


def _expected_frames(info: VideoInfo) -> int | None:
    """How many frames the header lets expect."""
    if info.frame_count_from_header is None and info.duration_seconds_from_header and info.average_frame_rate:
        return int(info.duration_seconds_from_header * info.average_frame_rate)
    return info.frame_count_from_header


def _last_duration(pts: Sequence[int], last: VideoFrame, info: VideoInfo) -> int:
    """Ticks that the last frame is shown: its own duration, unless that is none or a guess.

    Containers without durations get them from a guessed frame rate, which may be a thousand frames per second.
    """
    if len(pts) > 1:
        usual = median_low([b - a for a, b in pairwise(pts)])
    else:
        usual = round(1 / ((info.average_frame_rate or _USUAL_FRAME_RATE) * info.time_base))
    own = last.duration
    if own > 2 * usual and info.duration_seconds_from_header and "mov" in info.container.split(","):
        # That is how long nothing else is decoded, which need not be how long it is shown.
        own = min(own, max(usual, round(info.duration_seconds_from_header / info.time_base) - (pts[-1] - pts[0])))
    is_own = 2 * own >= usual or own * info.time_base > _GUESSED_STEP_SECONDS
    return max(1, own if is_own else usual)
