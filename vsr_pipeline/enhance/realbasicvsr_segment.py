"""Segments of a shot by RealBasicVSR or BasicVSR: its stream, its decision, and what is counted of the work."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from vsr_pipeline.clip.damage import damage_of
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.cuda_graphs import GraphedStep, Record, Step
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.realbasicvsr_chroma import with_chroma_cleaned
from vsr_pipeline.enhance.realbasicvsr_cleaning import (
    cleaned,
    cleaned_in_part,
    measured_share_of,
    passes_of,
    with_input_given_back,
)
from vsr_pipeline.enhance.realbasicvsr_network import Net
from vsr_pipeline.enhance.realbasicvsr_stream import RecurrentStream, Steps, Windows
from vsr_pipeline.enhance.spec import (
    Carry,
    Frame,
    OnWork,
)
from vsr_pipeline.enhance.transfer import check_finite, to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.basicvsr import pad_to_minimum
from vsr_pipeline.models.int8 import Outside, refuse_outside
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.plan import count_backward_steps, take
from vsr_pipeline.timeline import Decision, Segment

_FORWARD = "forward"


class SegmentUpscaler:
    """Segments of a shot by `RecurrentStream`, with warm-up and lookahead from the frames around them.

    Args:
        net: prepared; see `prepare`.
        device: where it is.
        windows: how clips are cut.
        refine_threshold: of dynamic refinement.
        cleaning: share of what cleaning changes that is taken, 0 to 1; `auto`: as damaged as each shot is measured to
            be. Noise in chroma is removed by the same share, and by the rest of it HR frames show again what of the
            LQ frames is lost in them.
        record: what records propagation and reconstruction, which are computed frame by frame, as graphs; None: they
            are not recorded. Reading needs none on a GPU: it computes several frames at once.
        outside: of a network in int8.

    Attributes:
        steps: what it calls, for measurements to wrap.
    """

    def __init__(
        self,
        net: Net,
        *,
        device: torch.device,
        windows: Windows,
        refine_threshold: float,
        cleaning: float | Literal["auto"] = 1.0,
        record: Record | None = None,
        outside: Outside | None = None,
    ) -> None:
        self._cleaner = net if isinstance(net, RealBasicVSRNet) else None
        self._net = net.basicvsr if isinstance(net, RealBasicVSRNet) else net

        self._notes: list[str] = []

        def by_frame(step: Step) -> Step:
            return GraphedStep(step, record, self._notes.append) if record else step

        self.steps = Steps(
            clean=partial(cleaned_in_part, self._cleaner) if self._cleaner else None,
            compute_flow=self._net.compute_flow,
            backward=by_frame(self._net.backward_step),
            forward=by_frame(self._net.forward_step),
            reconstruct=by_frame(self._net.reconstruct),
        )
        self._device = device
        self._windows = windows
        self._refine_threshold = refine_threshold
        self._cleaning = cleaning
        self._outside = outside

    @torch.inference_mode()
    def decide(self, samples: Sequence[Pixels], **about: object) -> Decision:  # noqa: ARG002
        """Apply dynamic refinement to the sample frames; a network without cleaning decides nothing."""
        if self._cleaner is None:
            return cleaned(0)
        frames = list(samples)
        share = damage_of(frames).share if self._cleaning == "auto" else None
        with out_of_memory_as_error():
            frames_NCHW = torch.cat([pad_to_minimum(to_tensor(pixels, self._device)) for pixels in frames])
            frames_NTCHW, passes = self._cleaner.clean_until(frames_NCHW[None], self._refine_threshold)
            check_finite(frames_NTCHW)
            return cleaned(passes, share)

    @torch.inference_mode()
    def upscale(
        self,
        frames: Iterable[Pixels],
        segment: Segment,
        decision: Decision,
        *,
        geometry: Geometry,
        on_work: OnWork,
        carry: Carry | None = None,
    ) -> Iterator[Frame]:
        """Yield the HR frames of a segment; see `Upscaler`."""
        del geometry  # a network has its own factor
        passes, measured = passes_of(decision), measured_share_of(decision)
        unmeasured = 1.0 if self._cleaning == "auto" else self._cleaning
        share = unmeasured if measured is None else measured
        shown = take(iter(frames), segment.context_stop - segment.context_start)

        def enlarged(inputs: Iterable[Pixels]) -> Iterator[Tensor]:
            return self._enlarged(inputs, segment, passes, share, on_work, carry)

        if measured is None:
            return enlarged(shown)
        whole = with_input_given_back(enlarged, shown, segment.warm_up, 1 - share) if share < 1 else enlarged(shown)
        return with_chroma_cleaned(whole, share) if share > 0 else whole

    @torch.inference_mode()
    def _enlarged(
        self,
        frames: Iterable[Pixels],
        segment: Segment,
        passes: int,
        share: float,
        on_work: OnWork,
        carry: Carry | None,
    ) -> Iterator[Tensor]:
        clean = partial(self.steps.clean, share) if self.steps.clean and share else None
        state = carry.state.get(_FORWARD) if carry else None

        outside = self._outside
        if outside is not None:
            outside.take_share()  # of what was before

        def at_border(given: int, features: Tensor) -> None:
            if outside is not None:  # by windows: the same however often the work was interrupted
                refuse_outside(outside.take_share())
            if carry:
                carry.keep(segment.start + given, {_FORWARD: features})

        with out_of_memory_as_error():
            stream = RecurrentStream(
                replace(self.steps, clean=clean),
                device=self._device,
                windows=self._windows,
                cleaning_passes=passes,
                warm_up=segment.warm_up,
                did=self._work_of(segment, passes, on_work, is_resumed=state is not None),
                state=torch.as_tensor(state).to(self._device) if state is not None else None,
                at_border=at_border,
            )
            for pixels in frames:
                yield from stream.push(pixels)
            yield from stream.finish(segment.lookahead)

    def take_notes(self) -> tuple[str, ...]:
        """Return why steps could not be recorded as graphs."""
        notes = tuple(dict.fromkeys(self._notes))
        self._notes.clear()
        return notes

    def free_caches(self) -> None:
        """Let go of recorded graphs; they are recorded again for the next frames."""
        for step in (self.steps.backward, self.steps.forward, self.steps.reconstruct):
            if isinstance(step, GraphedStep):
                step.release()

    def _work_of(self, segment: Segment, passes: int, on_work: OnWork, *, is_resumed: bool) -> Callable[[str], None]:
        """Weigh each step by its arithmetic, scaled so that the segment's steps sum to its number of frames."""
        # MFLOP per LQ pixel of a network with 64 channels.
        block = 0.148
        cleaning = 0.0
        if self._cleaner:
            cleaning = block * self._cleaner.num_cleaning_blocks * (self._cleaner.cleaning_channels / 64) ** 2
        costs = {"read": 1.3 + passes * cleaning, "propagate": 0.1 + block * self._net.num_blocks, "reconstruct": 2.7}
        windows = self._windows
        backward_steps = count_backward_steps(segment, max_seq_len=windows.max_seq_len, lookahead=windows.lookahead)
        total = (
            (segment.context_stop - segment.context_start) * costs["read"]
            + ((0 if is_resumed else segment.warm_up) + backward_steps + len(segment)) * costs["propagate"]
            + len(segment) * costs["reconstruct"]
        )
        return lambda step: on_work(costs[step] * len(segment) / total)
