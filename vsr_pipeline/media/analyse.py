"""The timeline of a clip: exact timestamps of all frames, and the cuts between its shots."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vsr_pipeline.media._decode import FrameSource
from vsr_pipeline.media.probe import probe
from vsr_pipeline.shots import ANALYSIS_WIDTH, CutDetector
from vsr_pipeline.timeline import Timeline, VideoInfo

_USUAL_FRAME_RATE = Fraction(25)


def analyse(path: Path, *, on_frame: Callable[[], None] | None = None) -> Timeline:
    """Decode a file once and return its timeline; `on_frame` is called after each frame.

    Frames are made small before anything looks at them: memory depends on the decoder alone.

    Raises:
        InputError: as `probe`, or nothing can be decoded.
    """
    info = probe(path)
    height = max(1, round(ANALYSIS_WIDTH * info.height / info.width))
    size = (ANALYSIS_WIDTH, height) if info.width > ANALYSIS_WIDTH else (info.width, info.height)
    detector = CutDetector()
    reformatter = VideoReformatter()
    pts: list[int] = []
    last: VideoFrame | None = None
    for frame in FrameSource(path).all():
        last = frame.picture
        pts.append(frame.pts)
        small = reformatter.reformat(
            last, width=size[0], height=size[1], format="bgr24", interpolation=Interpolation.AREA
        )
        detector.feed(np.asarray(small.to_ndarray(), dtype=np.uint8))
        if on_frame is not None:
            on_frame()
    assert last is not None, "a source without frames raises"
    return Timeline(
        time_base=info.time_base, pts=tuple(pts), last_duration=_last_duration(pts, last, info), cuts=detector.cuts
    )


def _last_duration(pts: list[int], last: VideoFrame, info: VideoInfo) -> int:
    """Ticks that the last frame is shown: its own duration, unless that is none or a fraction of the average step.

    Containers without durations get them from a guessed frame rate, which may be a thousand frames per second.
    """
    if len(pts) > 1:
        average = round(Fraction(pts[-1] - pts[0], len(pts) - 1))
    else:
        average = round(1 / ((info.average_frame_rate or _USUAL_FRAME_RATE) * info.time_base))
    own = last.duration
    return max(1, own if 2 * own >= average else average)
