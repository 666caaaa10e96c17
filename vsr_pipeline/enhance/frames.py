"""The way of a segment's frames: LQ frames into the upscaler, through the steps, HR frames back from the device.

Interpolation and OpenCV's networks give integers: for these no torch is loaded, unless a step is asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import chain

import numpy as np

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.frame_model import FrameUpscaler
from vsr_pipeline.enhance.interpolation import Interpolation
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.spec import Carry, Context, OnWork, Say, Upscaler
from vsr_pipeline.enhance.steps import Step, through
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.write.conversion import Planes, YuvConversion
from vsr_pipeline.plan import sample_indices, take
from vsr_pipeline.timeline import Decision, Segment, Shot, Timeline


def enhance_frames(
    upscaler: Upscaler,
    frames: Iterable[Pixels],
    segment: Segment,
    decision: Decision,
    *,
    geometry: Geometry,
    on_work: OnWork,
    steps: Sequence[Step] = (),
    carry: Carry | None = None,
) -> Iterator[Pixels]:
    """Yield the HR frames of a segment, each (H, W, 3), of the type of the LQ frames.

    Args:
        upscaler: makes them.
        frames: LQ frames of `[segment.context_start, segment.context_stop)`, of the geometry's `input_size`.
        segment: which they are.
        decision: that of its shot.
        geometry: all sizes.
        on_work: is told about progress.
        steps: what is done to HR frames before they are integers.
        carry: as of `Upscaler.upscale`.

    Raises:
        InputError, ResourceError, ModelError: as `Upscaler.upscale`.
    """
    coming = enhance_to_encode(
        upscaler,
        frames,
        segment,
        decision,
        geometry=geometry,
        on_work=on_work,
        steps=steps,
        carry=carry,
        conversion=None,
    )
    return map(_pixels_of, coming)


def enhance_to_encode(
    upscaler: Upscaler,
    frames: Iterable[Pixels],
    segment: Segment,
    decision: Decision,
    *,
    geometry: Geometry,
    on_work: OnWork,
    steps: Sequence[Step],
    carry: Carry | None,
    conversion: YuvConversion | None,
) -> Iterator[Pixels | Planes]:
    """Yield the HR frames of a segment for a writer; see `enhance_frames`.

    All arguments are as there, but for `conversion`: the writer's, from RGB to what it encodes. Frames of a GPU are
    converted there; None: none are.
    """
    frames = iter(frames)
    first = next(take(frames, 1))
    reduced = reduced_frames(chain([first], frames), geometry)
    enlarge = partial(upscaler.upscale, segment=segment, decision=decision, geometry=geometry, on_work=on_work)
    if carry is not None:
        enlarge = partial(enlarge, carry=carry)
    made = through(steps, enlarge, reduced, segment.warm_up)
    # What may give integers passes without torch as long as it does; all else runs inside of `download`, whole.
    if not steps and isinstance(upscaler, Interpolation | FrameUpscaler):
        with out_of_memory_as_error():
            for frame in made:
                if not isinstance(frame, np.ndarray):
                    break
                yield frame
            else:
                return
        made = chain(iter([frame]), made)  # a list would be kept to the end
        del frame  # it would stay on the device while the next one is computed
    from vsr_pipeline.enhance.transfer import download

    yield from download(made, first.dtype, conversion)


def _pixels_of(frame: Pixels | Planes) -> Pixels:
    """Return a frame that was asked for in RGB; mypy cannot know."""
    assert isinstance(frame, np.ndarray)
    return frame


class Samples(Sequence[Pixels]):
    """Frames of a shot, each of which is read when it is asked for.

    Args:
        read: yields frames (H, W, 3) from an index up to another one.
        indices: which frames these are, rising.
    """

    def __init__(self, read: Callable[[int, int], Iterable[Pixels]], indices: Sequence[int]) -> None:
        self._read = read
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> Pixels:  # type: ignore[override]  # nobody asks for slices
        (frame,) = self._read(self._indices[place], self._indices[place] + 1)
        return frame

    def __iter__(self) -> Iterator[Pixels]:
        first, count = (self._indices[0], len(self)) if self._indices else (0, 0)
        if count and self._indices[-1] - first + 1 == count:  # in one go
            yield from self._read(first, first + count)
        else:
            yield from (self[place] for place in range(count))


def decide(upscaler: Upscaler, samples: Sequence[Pixels], geometry: Geometry, say: Say = lambda _: None) -> Decision:
    """Decide on a shot by frames of it, of the geometry's `input_size`; see `Upscaler`."""

    def read(start: int, stop: int) -> Iterator[Pixels]:
        return reduced_frames(samples if stop - start == len(samples) else [samples[start]], geometry)

    return upscaler.decide(Samples(read, range(len(samples))), geometry=geometry, say=say)


def reduced_frames(frames: Iterable[Pixels], geometry: Geometry) -> Iterator[Pixels]:
    """Yield frames in the size that the model is to see: smaller ones with `--shrink-input`, by Lanczos."""
    if geometry.reduced_size == geometry.input_size:
        yield from frames
        return
    from vsr_pipeline.enhance.resize import resized_pixels

    for pixels in frames:
        yield resized_pixels(pixels, geometry.reduced_size)


def decide_in_memory(upscaler: Upscaler, context: Context, frames: Sequence[Pixels], scale: int) -> Decision:
    """Decide on a clip of one shot whose frames are all in memory, and that the model enlarges by its own factor."""
    height, width = frames[0].shape[:2]
    indices = sample_indices(Shot(0, len(frames)), context.decision_frames)
    return decide(
        upscaler, Samples(lambda start, stop: frames[start:stop], indices), Geometry.enlarged((width, height), scale)
    )


def enhance_in_memory(
    upscaler: Upscaler, context: Context, frames: Sequence[Pixels], decision: Decision, scale: int
) -> list[Pixels]:
    """Return the HR frames of a clip of one shot whose frames are all in memory; see `enhance_frames`."""
    outputs: list[Pixels] = []
    height, width = frames[0].shape[:2]
    geometry = Geometry.enlarged((width, height), scale)
    for segment in context.segments(Timeline.constant_rate(len(frames), Fraction(25))):
        around = frames[segment.context_start : segment.context_stop]
        outputs += enhance_frames(upscaler, around, segment, decision, geometry=geometry, on_work=lambda _: None)
    return outputs
