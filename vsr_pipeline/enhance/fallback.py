"""When a segment does not fit into memory, it is made again by a smaller variant; when it has a NaN, in float32.

So it is where features leave the ranges of int8. What a failed attempt held is dropped before the next one, the failed
variant included. A variant that worked is kept for the segments after it. `Fallback.begin` takes the first variant that
is expected to fit, so that nothing has to fail.
"""

import gc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from vsr_pipeline.enhance.device import GPU_IS_BROKEN, computes
from vsr_pipeline.enhance.memory import (
    allowed_bytes,
    amount,
    around_model_bytes,
    first_that_fits,
    give_back,
    no_more_than,
    out_of_memory_as_error,
    same_memory,
    second_encoder_bytes,
)
from vsr_pipeline.enhance.spec import Checkpoints, ModelSpec, Upscaler
from vsr_pipeline.errors import (
    BrokenDeviceError,
    ModelError,
    NotFiniteError,
    OutOfMemoryError,
    OutOfRangeError,
    ResourceError,
)
from vsr_pipeline.runtime.memory import how_to_reduce
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import ClipSize, Segment

T = TypeVar("T")


class Fallback:
    """Makes segments with the variant that fits; holds one of a model's variants at a time.

    Args:
        spec: the model.
        limit_bytes: how much memory may be taken, which a GPU enforces; None: what is free.
        allow_cpu: whether the CPU is one of the variants already; for the message.
    """

    def __init__(self, spec: ModelSpec, *, limit_bytes: int | None = None, allow_cpu: bool = False) -> None:
        self._spec = spec
        self._limit_bytes = limit_bytes
        self._may_allow_cpu = not allow_cpu and spec.variants[0].is_on_gpu
        self._level = 0
        self._upscaler: Upscaler | None = None
        self._reporter = Reporter()
        self._in_fp32 = False
        self.may_overlap = True
        """Whether main memory is enough to encode the next file while the one before is still being verified."""

    @property
    def way(self) -> str:
        """How the attempt that is under way is computed, for people and for comparison with an earlier one."""
        return self._way(self._level, self._in_fp32)

    def checkpoints(self, clip: ClipSize) -> Checkpoints | None:
        """Return where the attempt that is under way may be stopped and go on."""
        return self._spec.variants[self._level].checkpoints(clip)

    def begin(self, clip: ClipSize, reporter: Reporter) -> tuple[str, ...]:
        """Take the first variant that is expected to fit into memory for a clip; what was before counts no more.

        Args:
            clip: what all segments are of.
            reporter: is told about this step and those of `run`.

        Returns:
            A line where that is not the first variant.

        Raises:
            ResourceError: no variant fits into the limit that was set.
        """
        self._reporter = reporter
        if self._upscaler is not None:
            self._upscaler.free_caches()
        variants = same_memory(self._spec.variants)
        needs = [variant.memory_bytes(clip) for variant in variants]
        allowed = allowed_bytes(self._limit_bytes, self._spec.device)
        level = first_that_fits(needs, allowed)
        what = f"{clip} in {self._spec.precision}" if self._spec.precision else str(clip)
        if level is None and self._limit_bytes is not None:
            raise ResourceError(
                f"{what} needs about {amount(min(needs))} of {self._memory} with {variants[-1].description}, "
                f"--memory-limit allows {amount(allowed or 0)}: allow more, or reduce the video first, such as by "
                f"half: {how_to_reduce('INPUT', clip.width // 4 * 2)}"
            )
        # Without a limit, what is said not to fit is tried all the same, with as little as possible.
        level = len(variants) - 1 if level is None else level
        if level != self._level:
            self._release()
        self._level = level
        self.may_overlap = self._has_room_for_two_encoders(clip, needs[level], allowed)
        if self._level == 0 or allowed is None:
            return ()
        note = (
            f"{variants[self._level].description} instead of {variants[0].description}: {what} needs about "
            f"{amount(needs[0])} of {self._memory} with {variants[0].description}, {amount(allowed)} are "
            f"{'allowed' if self._limit_bytes is not None else 'free'}"
        )
        reporter.note(note)
        return (note,)

    def _has_room_for_two_encoders(self, clip: ClipSize, needed: int, allowed: int | None) -> bool:
        scale = self._spec.scale
        if self._spec.variants[0].is_on_gpu:  # the encoders take main memory
            needed, allowed = around_model_bytes(clip, scale), allowed_bytes(None, None)
        return second_encoder_bytes(clip, scale, needed, allowed) is not None

    def say(self, message: str) -> None:
        """Tell the reporter of `begin` something that a person who waits wants to know."""
        self._reporter.note(message)

    def run(self, segment: Segment, attempt: Callable[[Upscaler], T], *, way: str = "") -> tuple[T, tuple[str, ...]]:
        """Make something of a segment; step down and begin again as often as memory runs out.

        Args:
            segment: for the messages.
            attempt: makes it from its start, with the upscaler that it is given and must not keep. It may be called
                several times; what an attempt that raised has made is for itself to discard.
            way: that in which an earlier run had to make the segment, if it is known: it begins there.

        Returns:
            What `attempt` returned, and a line for each failed attempt.

        Raises:
            ResourceError: memory ran out with the last variant, too.
            ModelError: there is a NaN or an infinity in fp32, too.
            BrokenDeviceError: the GPU no longer computes.
        """
        notes: list[str] = []

        def once(upscaler: Upscaler) -> Iterator[T]:
            yield attempt(upscaler)

        (made,) = self.stream(segment, once, notes, way=way)
        return made, tuple(notes)

    def stream(
        self,
        segment: Segment,
        attempt: Callable[[Upscaler], Iterator[T]],
        notes: list[str] | None = None,
        *,
        way: str = "",
    ) -> Iterator[T]:
        """Yield what is made of a segment, one by one; after a step down, what was yielded is made again and left out.

        Args:
            segment: for the messages.
            attempt: makes it from its start, as that of `run`.
            notes: gets a line for each failed attempt.
            way: as of `run`.

        Raises:
            ResourceError, ModelError, BrokenDeviceError: as `run`.
        """
        name = f"segment {segment.start}-{segment.stop}"
        notes = [] if notes is None else notes
        before = self._way(self._level, in_fp32=False)
        in_fp32 = self._go_on(way)
        if self._way(self._level, in_fp32) != before:
            notes.append(f"{name}: went on with {way}, as it was begun")
        try:
            with no_more_than(self._limit_bytes, self._spec.device):
                yield from self._until_it_fits(name, attempt, notes, in_fp32)
        except RuntimeError as error:
            # After some errors, such as an access out of bounds, nothing computes any more in this process.
            if computes(self._spec.device):
                raise
            reason = str(error).partition("\n")[0]
            raise BrokenDeviceError(f"{name}: {GPU_IS_BROKEN} ({reason})") from error

    def _until_it_fits(
        self, name: str, attempt: Callable[[Upscaler], Iterator[T]], notes: list[str], in_fp32: bool
    ) -> Iterator[T]:
        given = 0
        while True:
            try:
                for item in islice(self._attempted(attempt, in_fp32, notes), given, None):
                    given += 1
                    yield item
                    del item  # it would be kept while the next one is made
                return
            except OutOfMemoryError as error:
                before = self._spec.variants[self._level].description
                if self._level + 1 == len(self._spec.variants):
                    raise self._exhausted(name) from error
                level = self._level + 1
                after = self._spec.variants[level].description
                message = f"{self._memory} ran out with {before}, went on with {after}"
            except NotFiniteError as error:
                level = self._level
                if in_fp32 or self._spec.variants[level].build_in_fp32 is None:
                    raise ModelError(
                        f"{name}: the network gave NaN or infinity in fp32: check its checkpoint"
                    ) from error
                in_fp32 = True
                is_in_range = not isinstance(error, OutOfRangeError)
                reason = "the network gave NaN or infinity" if is_in_range else str(error)
                message = f"{reason}, made again in fp32"
            # Only here, where the exception is gone, is nothing left that holds the failed attempt's tensors.
            self._release()
            self._level = level
            notes.append(f"{name}: {message}")
            self._reporter.note(notes[-1])

    def _go_on(self, way: str) -> bool:
        """Step down to a way, where that is below the one of now; return whether it is in fp32."""
        for level in range(self._level, len(self._spec.variants)):
            for in_fp32 in (False, True):
                if way == self._way(level, in_fp32):
                    if level != self._level:
                        self._release()
                    self._level = level
                    return in_fp32
        return False

    def _way(self, level: int, in_fp32: bool) -> str:
        return f"{self._spec.variants[level].description}{' in fp32' if in_fp32 else ''}"

    def _attempted(self, attempt: Callable[[Upscaler], Iterator[T]], in_fp32: bool, notes: list[str]) -> Iterator[T]:
        self._in_fp32 = in_fp32
        upscaler = self._upscaler_for(in_fp32)
        try:
            yield from attempt(upscaler)
        finally:
            for note in upscaler.take_notes():
                notes.append(note)
                self._reporter.note(note)

    def _upscaler_for(self, in_fp32: bool) -> Upscaler:
        """Return the upscaler of the current variant. One in fp32 is for one segment and is not kept."""
        variant = self._spec.variants[self._level]
        with out_of_memory_as_error():
            if in_fp32 and variant.build_in_fp32 is not None:
                return variant.build_in_fp32()
            if self._upscaler is None:
                self._upscaler = variant.build()
            return self._upscaler

    def _release(self) -> None:
        """Let go of the upscaler before the next one is built: two do not fit where memory has run out."""
        self._upscaler = None
        gc.collect()
        give_back(self._spec.device)

    @property
    def _memory(self) -> str:
        return "GPU memory" if self._spec.variants[0].is_on_gpu else "memory"

    def _exhausted(self, name: str) -> ResourceError:
        tried = ", ".join(variant.description for variant in self._spec.variants)
        remedy = "close other programs that use it" + (", or allow more (--memory-limit)" if self._limit_bytes else "")
        remedy += ", or give --allow-cpu" if self._may_allow_cpu else ""
        return ResourceError(f"{name}: {self._memory} ran out with all of {tried}: {remedy}")
