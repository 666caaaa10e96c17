"""The way of a segment's frames: LQ frames into the upscaler, HR frames back from the device."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from typing import TypeVar

from vsr_pipeline.enhance.spec import Context, OnWork, Upscaler
from vsr_pipeline.enhance.transfer import download
from vsr_pipeline.errors import InputError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.timeline import Decision, Segment, Shot, Timeline

T = TypeVar("T")


def enhance_frames(
    upscaler: Upscaler, frames: Iterable[Pixels], segment: Segment, decision: Decision, *, on_work: OnWork
) -> Iterator[Pixels]:
    """Yield the HR frames of a segment, each (H, W, 3), of the type of the LQ frames.

    Args:
        upscaler: makes them.
        frames: LQ frames of `[segment.context_start, segment.context_stop)`.
        segment: which they are.
        decision: that of its shot.
        on_work: is told about progress.

    Raises:
        InputError, ResourceError, ModelError: as `Upscaler.upscale`.
    """
    frames = iter(frames)
    first = next(take(frames, 1))
    enlarged = upscaler.upscale(chain([first], frames), segment, decision, on_work=on_work)
    yield from download(enlarged, first.dtype)


def decide_in_memory(upscaler: Upscaler, context: Context, frames: Sequence[Pixels]) -> Decision:
    """Decide on a clip of one shot whose frames are all in memory."""
    return upscaler.decide(frames[i] for i in sample_indices(Shot(0, len(frames)), context.decision_frames))


def enhance_in_memory(
    upscaler: Upscaler, context: Context, frames: Sequence[Pixels], decision: Decision
) -> list[Pixels]:
    """Return the HR frames of a clip of one shot whose frames are all in memory; see `enhance_frames`."""
    outputs: list[Pixels] = []
    for segment in context.segments(Timeline.constant_rate(len(frames), Fraction(25))):
        around = frames[segment.context_start : segment.context_stop]
        outputs += enhance_frames(upscaler, around, segment, decision, on_work=lambda _: None)
    return outputs


def take(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield exactly `count` items.

    Raises:
        InputError: there are fewer.
    """
    taken = 0
    for item in islice(items, count):
        taken += 1
        yield item
    if taken < count:
        raise InputError(f"the input ended {count - taken} frames before its timeline says: was it changed meanwhile?")
