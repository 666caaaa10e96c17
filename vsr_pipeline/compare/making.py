"""From a moment to the pictures that a model makes of it: the crop alone is read, computed and kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.clip.geometry import Geometry, Size
from vsr_pipeline.compare.moments import Box, Moment
from vsr_pipeline.config import Config
from vsr_pipeline.enhance.frames import decide, enhance_frames
from vsr_pipeline.enhance.spec import Context, Upscaler
from vsr_pipeline.enhance.steps import steps_for
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.estimate import pixel_ratio, seconds_a_frame
from vsr_pipeline.media.images import Pixels, eight_bits
from vsr_pipeline.media.tint import with_tint
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.timeline import Decision, Segment, Shot, Tint

LOOP_FRAMES = 12
"""Flicker is seen only in motion."""
_MARGIN = 8
"""Pixels around the crop that are computed, too, so that the network does not see the crop's edges as the frame's."""
SETTLED_FRAMES = 5
"""Around what is shown, for a recurrent network: fewer than `vsr run` takes, for the sake of time."""
_LONGEST_LOOP_SECONDS = 20.0
"""Of a model without memory: if the loop of a moment would take longer, one frame is made."""
_TIMED_FRAMES = 3

Pictures = tuple[Pixels, ...]
"""Frames of a moment, (H, W, 3), RGB, 8 bits, with square pixels."""


@dataclass(frozen=True, slots=True)
class Take:
    """What is read of a moment: the crop and a margin, over the frames of the loop and those around them.

    Attributes:
        moment: which one it is.
        region: what was read of each frame, in LQ pixels.
        frames: all of them, LQ, (H, W, 3).
        loop: which of them are shown.
        still: the one among all that is the moment's own.
        shot: the one of the clip that it is in.
        tint: that of the shot.
    """

    moment: Moment
    region: Box
    frames: tuple[Pixels, ...]
    loop: range
    still: int
    shot: Shot
    tint: Tint | None

    def segment(self, context: Context, shown: range) -> Segment:
        """Return the frames that are to be made as a segment, with as much context as a model wants."""
        start, stop = shown.start, shown.stop
        return Segment(
            start=start,
            stop=stop,
            context_start=max(0, start - min(context.warm_up, SETTLED_FRAMES)),
            context_stop=min(len(self.frames), stop + min(context.lookahead, SETTLED_FRAMES)),
            shot=Shot(0, len(self.frames)),
        )


def take(footage: Footage, moment: Moment) -> Take:
    """Read a moment; nothing of another shot is in it.

    Raises:
        InputError: a frame cannot be read.
    """
    clip = footage.timeline.without_repeats
    shot = next(shot for shot in clip.shots if shot.start <= moment.index < shot.stop)
    stop = min(shot.stop, max(shot.start, moment.index - LOOP_FRAMES // 2) + LOOP_FRAMES)
    start = max(shot.start, stop - LOOP_FRAMES)
    first, end = max(shot.start, start - SETTLED_FRAMES), min(shot.stop, stop + SETTLED_FRAMES)
    region = moment.crop.grown(_MARGIN, footage.header.info.display_size).aligned()
    with footage.open() as source:
        frames = tuple(cut(pixels, region) for pixels in source.read(first, end))
    return Take(
        moment=moment,
        region=region,
        frames=frames,
        loop=range(start - first, stop - first),
        still=moment.index - first,
        shot=shot,
        tint=clip.tint_at(moment.index),
    )


def cut(pixels: Pixels, box: Box) -> Pixels:
    """Return a part of a frame, as an array of its own."""
    return np.ascontiguousarray(pixels[box.top : box.bottom, box.left : box.right])  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Made:
    """What a model made of a moment: the frames of the loop, or one alone; `still` is the place of the moment's own."""

    pictures: Pictures
    still: int
    decision: Decision


def make(
    taken: Take,
    upscaler: Upscaler,
    context: Context,
    geometry: Geometry,
    config: Config,
    *,
    decision: Decision | None = None,
    with_loop: bool = True,
) -> Made:
    """Make the pictures of a moment.

    Args:
        taken: the moment.
        upscaler: the model.
        context: what it wants around a segment.
        geometry: the clip's sizes.
        config: the model's settings.
        decision: what was decided for its shot before; None: it is decided on the crop.
        with_loop: False: the moment's own frame is enough.

    Raises:
        ResourceError, ModelError: as `Upscaler.upscale`.
    """
    sizes = geometry.scaled_to((taken.region.width, taken.region.height))
    if decision is None:
        indices = sample_indices(Shot(0, len(taken.frames)), max(1, context.decision_frames))
        decision = decide(upscaler, [taken.frames[i] for i in indices], sizes)

    def made(shown: range) -> Pictures:
        segment = taken.segment(context, shown)
        frames = enhance_frames(
            upscaler,
            taken.frames[segment.context_start : segment.context_stop],
            segment,
            decision,
            geometry=sizes,
            on_work=lambda _: None,
            steps=steps_for(sizes, config.upscale),
        )
        return tuple(_shown(with_tint(pixels, taken.tint), taken, sizes) for pixels in frames)

    if not (with_loop and (context.warm_up or context.lookahead)):
        started = time.perf_counter()
        still = made(range(taken.still, taken.still + 1))
        if not with_loop or (time.perf_counter() - started) * len(taken.loop) > _LONGEST_LOOP_SECONDS:
            return Made(still, 0, decision)
    return Made(made(taken.loop), taken.still - taken.loop.start, decision)


def measured_seconds(
    taken: Take, upscaler: Upscaler, made: Made, geometry: Geometry, config: Config, *, context: float
) -> float:
    """Return how many seconds a frame of the clip takes on this machine, by those of the crop.

    Args:
        taken: a moment that was made before, so that libraries have prepared themselves.
        upscaler: the model.
        made: what became of it.
        geometry: the clip's sizes.
        config: the model's settings.
        context: how many frames the model is given for each frame that it makes.
    """
    sizes = geometry.scaled_to((taken.region.width, taken.region.height))
    count = min(_TIMED_FRAMES, len(made.pictures))
    seconds = seconds_a_frame(
        upscaler, taken.frames[:count], made.decision, sizes, config, context=context, on_work=lambda _: None, repeats=1
    )
    return seconds * pixel_ratio(geometry, sizes)


def reference_pictures(footage: Footage, taken: Take, indices: Sequence[int], size: Size) -> Pictures:
    """Return what the reference shows of a moment, in its own resolution.

    Args:
        footage: the reference, with all its frames.
        taken: the moment.
        indices: the frames of the reference that are those of the loop.
        size: of the clip's frames, LQ.

    Raises:
        InputError: a frame cannot be read, or the reference has another shape than the clip.
    """
    width, height = footage.header.info.display_size
    x, y = Fraction(width, size[0]), Fraction(height, size[1])
    if abs(x / y - 1) > Fraction(1, 20):
        raise InputError(
            f"{footage.header.path} is {width}x{height}, the clip {size[0]}x{size[1]}: give one of the same shape"
        )
    crop = taken.moment.crop
    left, top = round(crop.left * x), round(crop.top * y)
    box = Box(left, top, round(crop.right * x) - left, round(crop.bottom * y) - top)
    with footage.open() as source:
        return tuple(eight_bits(cut(next(iter(source.read(i, i + 1))), box)) for i in indices)


def without_margin(pixels: Pixels, crop: Box, region: Box, sizes: Geometry) -> Pixels:
    """Return of an HR frame of a region what is shown of it; all boxes are in LQ pixels of the clip."""
    x, y = (Fraction(sizes.output_size[k], sizes.input_size[k]) for k in (0, 1))
    inner = crop.within(region)
    return cut(pixels, Box(round(inner.left * x), round(inner.top * y), round(crop.width * x), round(crop.height * y)))


def _shown(pixels: Pixels, taken: Take, sizes: Geometry) -> Pixels:
    """Return what is shown of an HR frame: no margin, 8 bits, square pixels."""
    picture = eight_bits(without_margin(pixels, taken.moment.crop, taken.region, sizes))
    wide = round(picture.shape[1] * sizes.sample_aspect_ratio)
    if wide != picture.shape[1]:
        return np.asarray(cv2.resize(picture, (wide, picture.shape[0]), interpolation=cv2.INTER_CUBIC), np.uint8)
    return picture
