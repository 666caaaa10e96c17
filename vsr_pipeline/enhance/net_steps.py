"""Steps after the model that have a network of their own: they are built, run, and fall back together with the model.

So their memory is in the plan, their cost in the estimate, their weights in the fingerprint, and what they decide on a
shot in its `Decision`, whatever the model is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.spec import (
    Carry,
    Frame,
    Identity,
    ModelSpec,
    OnWork,
    Say,
    Upscaler,
    Variant,
    model_alone,
)
from vsr_pipeline.enhance.transfer import to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.timeline import ClipSize, Decision, Segment, Shot

_EVERY_FRAME = 2**62

Change = Callable[[Tensor, int], Tensor]
"""Changes an HR frame (1, 3, H, W), float32; the number is its place in the shot."""


class NetStep(Protocol):
    """A step with its network on its device."""

    def decide(self, samples: Sequence[Pixels], *, geometry: Geometry, say: Say) -> Decision:
        """Decide on a shot by its LQ frames, all of them; `values` is empty, or has one text under the step's name."""
        ...

    def begin(self, decided: str, geometry: Geometry) -> Change:
        """Return what is done to the frames of a segment.

        Args:
            decided: the text of `decide`; empty: nothing was decided.
            geometry: all sizes.
        """
        ...

    def take_notes(self) -> tuple[str, ...]:
        """Return what it could not do as the settings say since the last call, each thing once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NetStepSpec:
    """A step that is ready to be built.

    Attributes:
        name: `REFINE` or `FACES`.
        description: for people, after the model's.
        identity: all that its pixels depend on.
        device: where it runs where the model's first variant runs; None: no network runs.
        levels: the ways to run it, described, each with less memory than the one before; the first needs no words.
        memory_bytes: of a way, for an HR height and width, with its weights.
        build: puts a way on a device; the last argument is whether float32 is wanted.
        summary: what is worth knowing of all shots together, for the report.
    """

    name: str
    description: str
    identity: Identity
    device: torch.device | None
    levels: tuple[str, ...]
    memory_bytes: Callable[[int, int, int], int]
    build: Callable[[int, torch.device, bool], NetStep]
    summary: Callable[[Sequence[Decision]], tuple[str, ...]] = lambda _: ()


class SteppedUpscaler:
    """A model, and steps on each of its HR frames.

    Args:
        upscaler: the model.
        steps: by their names, in their order.
        decision_frames: how many frames of a shot the model itself decides by.
        devices: where each step runs.
    """

    def __init__(
        self,
        upscaler: Upscaler,
        steps: Mapping[str, NetStep],
        decision_frames: int,
        devices: Mapping[str, torch.device],
    ) -> None:
        self._upscaler = upscaler
        self._steps = steps
        self._decision_frames = decision_frames
        self._devices = devices

    @torch.inference_mode()
    def decide(self, samples: Sequence[Pixels], *, geometry: Geometry, say: Say) -> Decision:
        """Let the model and each step decide; see `Upscaler`."""
        indices = sample_indices(Shot(0, len(samples)), self._decision_frames) if len(samples) else ()
        decided = [self._upscaler.decide([samples[i] for i in indices], geometry=geometry, say=say)]
        with out_of_memory_as_error():
            decided += [step.decide(samples, geometry=geometry, say=say) for step in self._steps.values()]
        values = {name: value for one in decided for name, value in one.values.items()}
        return Decision(values, ", ".join(one.description for one in decided if one.description))

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
        """Yield the HR frames of a segment, changed; see `Upscaler`."""
        changes = {name: step.begin(str(decision.values.get(name, "")), geometry) for name, step in self._steps.items()}
        enlarged = self._upscaler.upscale(
            frames, segment, model_alone(decision), geometry=geometry, on_work=on_work, carry=carry
        )
        with out_of_memory_as_error():
            for place, frame in enumerate(enlarged, start=segment.start - segment.shot.start):
                hr = to_tensor(frame, torch.device("cpu")) if isinstance(frame, np.ndarray) else frame
                del frame  # it would stay on the device beside what is made of it
                for name, change in changes.items():
                    hr = change(hr.to(self._devices[name]), place)
                yield hr
                del hr

    def take_notes(self) -> tuple[str, ...]:
        """Return those of the model and of all steps."""
        return (*self._upscaler.take_notes(), *(note for step in self._steps.values() for note in step.take_notes()))

    def free_caches(self) -> None:
        """Let go of what the model keeps for frames of one size."""
        self._upscaler.free_caches()


def with_net_steps(spec: ModelSpec, steps: Sequence[NetStepSpec]) -> ModelSpec:
    """Return a model that ends with some steps; the model itself where there are none."""
    if not steps:
        return spec
    variants = spec.variants
    last = max(len(step.levels) for step in steps) - 1
    # What saves most for the least loss comes first: smaller tiles of a step, then the model's own ways.
    ways = [*((variants[0], level) for level in range(last + 1)), *((variant, last) for variant in variants[1:])]
    combined = tuple(_variant(spec, variant, steps, level) for variant, level in ways)
    identity = dict(spec.identity)
    for step in steps:
        identity |= {name: value for name, value in step.identity.items() if name not in identity}
    return replace(
        spec,
        description=", ".join([spec.description, *(step.description for step in steps)]),
        identity=identity,
        context=replace(spec.context, decision_frames=_EVERY_FRAME, decides_on_places=True),
        variants=combined,
        summary=lambda decisions: tuple(line for step in steps for line in step.summary(decisions)),
    )


def _variant(spec: ModelSpec, variant: Variant, steps: Sequence[NetStepSpec], level: int) -> Variant:
    """Return a variant of the model with its steps; `level` says how little memory these take."""
    on_cpu = spec.variants[0].is_on_gpu and not variant.is_on_gpu
    cpu = torch.device("cpu")
    devices = {step.name: cpu if on_cpu else step.device or cpu for step in steps}
    levels = {step.name: min(level, len(step.levels) - 1) for step in steps}
    on_gpu = [step for step in steps if devices[step.name].type != "cpu"]
    counted_steps = on_gpu or ([] if variant.is_on_gpu else list(steps))

    def memory_bytes(clip: ClipSize) -> int:
        width, height = spec.sizing.scale * clip.width, spec.sizing.scale * clip.height
        if spec.sizing.is_any and clip.output_size is not None:
            width, height = clip.output_size
        model = variant.memory_bytes(clip) if variant.is_on_gpu or not on_gpu else 0
        return model + sum(step.memory_bytes(levels[step.name], height, width) for step in counted_steps)

    def build(upscaler: Callable[[], Upscaler], in_fp32: bool) -> SteppedUpscaler:
        with out_of_memory_as_error():
            built = {step.name: step.build(levels[step.name], devices[step.name], in_fp32) for step in steps}
        return SteppedUpscaler(upscaler(), built, spec.context.decision_frames, devices)

    is_in_fp32 = variant.build_in_fp32 is None and all(
        step.identity.get(f"{step.name}_precision", "fp32") == "fp32" for step in steps
    )
    in_words = [f"{step.name} in {words}" for step in steps if (words := step.levels[levels[step.name]])]
    return Variant(
        description=", ".join([variant.description, *in_words]),
        device=next((devices[step.name] for step in on_gpu), variant.device or cpu),
        memory_bytes=memory_bytes,
        build=partial(build, variant.build, False),
        build_in_fp32=None if is_in_fp32 else partial(build, variant.build_in_fp32 or variant.build, True),
        checkpoints=variant.checkpoints,
    )
