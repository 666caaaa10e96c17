"""Interlaced pictures: whether a clip has them, measured, and making whole pictures of them.

Flags are often wrong in both directions. What counts is the picture: ffmpeg's `idet` tells which field was taken first,
and a look for combs whether there are two moments in a frame at all. `idet` alone takes fine patterns that move, as in
test pictures, for fields; combs are horizontal only, patterns are not.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.colour import SWSCALE_THREADS, matrix_for_swscale
from vsr_pipeline.media.read.cursor import TimedFrame
from vsr_pipeline.media.read.filters import FilterChain
from vsr_pipeline.timeline import Deinterlacing, FieldOrder, VideoInfo

_BURSTS = 16
_BURST_FRAMES = 12
_UNKNOWN_CLIP_FRAMES = 1600
_LARGEST_SAMPLE = (720, 1280)
"""(height, width) of the middle of a frame that is looked at: more only takes longer."""
_SMALLEST_PICTURE = 16
"""bwdif wants a few lines and columns of chroma, too."""

_MOTION = 12
_TOOTH = 10
"""Steps of brightness (of 255) from which on a pixel has changed, and stands out of its neighbours like a comb's tooth.
"""


@dataclass(frozen=True, slots=True)
class FieldVerdict:
    """What the pictures of a clip look like."""

    order: FieldOrder | Literal["progressive"] | None
    """None: too little moves, or too little was seen, to tell."""
    telecine: bool
    """Fields are repeated in the rhythm that makes 24 pictures per second 30."""


class FieldMeter:
    """Looks at short runs of frames spread over a clip; the cost is the same for all long clips.

    Args:
        frame_count: how many frames the clip has, as far as is known.
    """

    def __init__(self, frame_count: int | None) -> None:
        self._stride = max(_BURST_FRAMES, (frame_count or _UNKNOWN_CLIP_FRAMES) // _BURSTS)
        self._seen = 0
        self._flagged = 0
        self._flagged_top_first = 0
        self._orders: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self._moving = self._combs = self._combs_turned = 0
        self._reformatter = VideoReformatter()
        self._idet = FilterChain(("idet", ""))
        self._previous: npt.NDArray[np.int16] | None = None

    def feed(self, frame: VideoFrame) -> None:
        """Take the next frame of the clip, as coded."""
        burst, index = divmod(self._seen, self._stride)
        self._seen += 1
        self._flagged += frame.interlaced_frame
        if index >= _BURST_FRAMES or burst >= _BURSTS:
            return
        if frame.interlaced_frame and index == 0:
            self._flagged_top_first += 1 if is_top_field_first(frame) else -1
        matrix = matrix_for_swscale(frame)
        grey = self._reformatter.reformat(
            frame, format="gray", src_colorspace=matrix, dst_colorspace=matrix, threads=SWSCALE_THREADS
        )
        sample = _middle(grey)
        self._count(self._idet.push(VideoFrame.from_ndarray(sample, format="gray")))
        if index == _BURST_FRAMES - 1:
            self._count(self._idet.end())
        pixels = sample.astype(np.int16)
        if index % 2 == 0:
            self._previous = pixels
        elif self._previous is not None and self._previous.shape == pixels.shape:
            self._look_for_combs(pixels, np.abs(pixels - self._previous) > _MOTION)

    def flagged_order(self) -> FieldOrder | None:
        """Field order by the flags of the frames; None where most of them are flagged as whole pictures."""
        if self._flagged * 2 < self._seen or self._flagged == 0:
            return None
        return "tff" if self._flagged_top_first >= 0 else "bff"

    def verdict(self) -> FieldVerdict:
        """What was measured up to now."""
        self._count(self._idet.end())
        top, bottom, whole = (self._orders[name] for name in ("tff", "bff", "progressive"))
        fields = max(top, bottom)
        repeats = self._repeated["top"], self._repeated["bottom"]
        telecine = min(repeats) >= 3 and sum(repeats) * 4 >= sum(self._repeated.values())
        combed = self._combs >= max(30, 10 * self._combs_turned) and self._combs * 300 >= self._moving
        if combed and fields >= 3 and fields >= 2 * min(top, bottom) and fields * 3 >= whole:
            return FieldVerdict("tff" if top > bottom else "bff", telecine)
        if whole >= 8 and whole >= 10 * fields and self._combs <= 5 * (self._combs_turned + 1):
            return FieldVerdict("progressive", telecine=False)
        return FieldVerdict(None, telecine=False)

    def _count(self, frames: Iterator[VideoFrame]) -> None:
        for frame in frames:
            said = frame.metadata
            self._orders[said["lavfi.idet.single.current_frame"]] += 1
            self._repeated[said["lavfi.idet.repeated.current_frame"]] += 1

    def _look_for_combs(self, pixels: npt.NDArray[np.int16], moving: npt.NDArray[np.bool_]) -> None:
        self._moving += int(np.count_nonzero(moving))
        self._combs += _teeth(pixels, moving)
        self._combs_turned += _teeth(pixels.T, moving.T)


def decide(
    info: VideoInfo,
    meter: FieldMeter,
    wish: Literal["auto", "bwdif", "bwdif-double", "keep", "refuse"],
    notes: list[str],
) -> FieldOrder | None:
    """Choose the order of fields that is deinterlaced, or None for leaving the frames alone; say why in `notes`.

    Raises:
        InputError: the clip is interlaced and `wish` is to refuse that.
    """
    flagged = info.field_order if info.field_order in ("tff", "bff") else meter.flagged_order()
    verdict = meter.verdict()
    measured = verdict.order
    found: FieldOrder | None = None
    if measured != "progressive":
        found = measured or (flagged if meter.flagged_order() else None)
    said = "progressive" if flagged is None else f"interlaced ({flagged})"
    seen = {None: "undetermined", "progressive": "progressive"}.get(measured, f"interlaced ({measured})")
    disagree = f"flagged {said}, measured {seen}"
    if verdict.telecine:
        notes.append(
            "fields are repeated as in telecined film: undoing that would give fewer frames, which is not done"
        )
    if min(info.width, info.height) < _SMALLEST_PICTURE:
        return None
    if wish == "refuse" and found:
        raise InputError(
            f"{info.path} is interlaced ({disagree}), and --interlaced is refuse: allow bwdif, or keep the fields"
        )
    if wish == "bwdif":
        found = found or flagged or "tff"
    elif wish == "bwdif-double" and measured != "progressive":
        found = found or flagged  # no order is guessed: a wrong one shakes the picture to and fro
    elif wish == "keep" and found:
        notes.append(f"the frames are interlaced ({disagree}) and kept so: the model was trained on whole pictures")
        return None
    if found:
        made = "two frames per frame" if wish == "bwdif-double" else "one frame per frame"
        notes.append(f"deinterlaced with bwdif, {made} ({disagree}, taken as {found})")
    elif flagged and measured == "progressive" and wish != "bwdif-double":
        notes.append(f"{disagree}: not deinterlaced")
    elif wish == "bwdif-double":
        notes.append(f"not interlaced ({disagree}): no frame is doubled")
    return found


def deinterlaced(frames: Iterator[TimedFrame], how: Deinterlacing) -> Iterator[TimedFrame]:
    """Make whole pictures with bwdif, one or two per frame, with the frame's timestamp.

    Each is made of a frame and its two neighbours, if they have its size and format.
    """
    order, _, double = how.partition("-")
    bwdif = FilterChain(("bwdif", f"mode={'send_field' if double else 'send_frame'}:parity={order}:deint=all"))
    times: deque[int] = deque()
    for frame in frames:
        times += [frame.pts] * (2 if double else 1)
        for picture in bwdif.push(frame.picture):
            yield TimedFrame(times.popleft(), picture)
    for picture in bwdif.end():
        yield TimedFrame(times.popleft(), picture)


def is_top_field_first(frame: VideoFrame) -> bool:
    """Whether a frame is flagged so; PyAV does not tell, but a filter lets such frames pass."""
    return any(True for _ in FilterChain(("select", r"eq(interlace_type\,TOPFIRST)")).push(frame))


def _middle(grey: VideoFrame) -> npt.NDArray[np.uint8]:
    """(H, W) middle of a grey frame, beginning at a line of its top field."""
    plane = grey.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
    height, width = (min(size, limit) for size, limit in zip(rows.shape, _LARGEST_SAMPLE, strict=True))
    top, left = (rows.shape[0] - height) // 4 * 2, (rows.shape[1] - width) // 2
    return np.ascontiguousarray(rows[top : top + height, left : left + width])


def _teeth(pixels: npt.NDArray[np.int16], moving: npt.NDArray[np.bool_]) -> int:
    """Count the moving pixels that differ from both neighbour lines while those, and the ones beyond, agree."""
    if len(pixels) < 5:
        return 0
    above2, above, here, below, below2 = (pixels[row : len(pixels) - 4 + row] for row in range(5))
    up, down = here - above, here - below
    sticks_out = (np.minimum(up, down) > _TOOTH) | (np.maximum(up, down) < -_TOOTH)
    alike = (np.abs(above - below) < _TOOTH) & (np.abs(here - above2) < _TOOTH) & (np.abs(here - below2) < _TOOTH)
    return int(np.count_nonzero(sticks_out & alike & moving[2:-2]))
