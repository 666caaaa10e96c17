"""A model that is ready: all that the rest of the program knows of it, whichever model it is. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union

from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import plan_segments
from vsr_pipeline.timeline import ClipSize, Decision, Segment, Timeline

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Frame: TypeAlias = Union["Tensor", Pixels]
"""An HR frame: (1, 3, H, W), RGB in [0, 1], float32, on its device; or (H, W, 3) integers of a model without torch."""

OnWork = Callable[[float], None]
"""Is told how many frames' worth of work was just done; a segment's calls sum to its number of frames."""

Say = Callable[[str], None]
"""Is told in a line what a person who waits wants to know."""

INT8 = "int8"
"""In an identity in 8-bit integers: by which instructions, and with which ranges."""

REFINE, FACES = "refine", "faces"
"""Under what each step with a network keeps its part of a decision, one text."""

Identity = Mapping[str, str | int | float]
"""Everything that pixels depend on, by the names of the settings."""

State: TypeAlias = Mapping[str, "Tensor | int"]
"""All that a model knows of the frames before one when it makes that one; empty where it needs nothing of them."""

CHECKPOINT_FRAMES = 30
"""Fewest frames between two places where a segment may go on: each begins with a key frame, which files grow by."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where a segment may go on after it was stopped: a function of the model, its settings and the clip alone."""

    frames: int
    """From one place to the next, counted from the segment's start."""
    state_bytes: int = 0
    """Of the state at one of them, about."""
    read_at_once: int = 0
    """How many frames are read in one step; the frames from the step before on have to be read again. 0: none are."""


@dataclass(frozen=True, slots=True)
class Carry:
    """What a model takes over from the frames before a segment's part, and what it gives for the frames after."""

    state: State
    """With it, the frames of the warm-up are read and nothing more: it is what they would lead to."""
    keep: Callable[[int, State], None]
    """Is told, before frame `index - 1` is yielded, the state by which frame `index` will be made; it copies that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How a clip is cut for a model; all lengths in frames."""

    segment_frames: int
    """Longest segment."""
    warm_up: int = 0
    """Frames before a segment that starts inside a shot."""
    lookahead: int = 0
    """Frames after a segment that ends inside a shot."""
    follow_shots: bool = True
    """Whether segments end at scene cuts."""
    every_frame: bool = False
    """Whether frames that repeat the one before them are computed, too."""
    decision_frames: int = 0
    """How many frames of a shot its `Decision` is made from."""
    decides_slowly: bool = False
    """Whether a decision takes minutes: a network is trained. To measure the speed, an empty one does."""
    decides_on_places: bool = False
    """Whether a decision is about places in the frame, so that another part of the frame needs its own."""

    def segments(self, timeline: Timeline) -> tuple[Segment, ...]:
        """Cut a clip; see `plan_segments`."""
        return plan_segments(
            timeline,
            segment_frames=self.segment_frames,
            warm_up=self.warm_up,
            lookahead=self.lookahead,
            follow_shots=self.follow_shots,
        )


class Upscaler(Protocol):
    """A variant of a model, with its weights on its device."""

    def decide(self, samples: Sequence[Pixels], *, geometry: Geometry, say: Say) -> Decision:
        """Decide on a shot by frames of it.

        Args:
            samples: as many as `Context.decision_frames` says, (H, W, 3) each; one is read when it is asked for.
            geometry: as of `upscale`.
            say: is told now and then how far a decision is that takes long.
        """
        ...

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
        """Yield the HR frames of `[segment.start, segment.stop)`.

        Args:
            frames: LQ frames (H, W, 3) of `[segment.context_start, segment.context_stop)`.
            segment: one of `Context.segments`, or the rest of one from one of its `Checkpoints` on.
            decision: that of the segment's shot.
            geometry: its `reduced_size` is that of the frames, its `model_size` that of the HR frames.
            on_work: is told about progress.
            carry: from what it goes on, and who wants to go on later; None: it is made from its start, in one piece.

        Raises:
            InputError: `frames` ends too early.
            ResourceError: the memory does not suffice.
            ModelError: the network gave NaN or infinity.
        """
        ...

    def take_notes(self) -> tuple[str, ...]:
        """Return what it could not do as the settings say since the last call, each thing once."""
        ...

    def free_caches(self) -> None:
        """Let go of what is kept for frames of one size only."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run a model: in long or short windows, in bands, on another device."""

    description: str
    device: torch.device | None
    """None: PyTorch computes nothing."""
    memory_bytes: Callable[[ClipSize], int]
    """How much a clip takes at most: of a GPU's memory, or all of this process's where the model runs on the CPU."""
    build: Callable[[], Upscaler]
    """Puts the weights on the device."""
    build_in_fp32: Callable[[], Upscaler] | None = None
    """The same in float32; None: it computes in float32 already."""
    checkpoints: Callable[[ClipSize], Checkpoints | None] = lambda _: None
    """Where segments of a clip may go on; None: they are made in one piece."""

    @property
    def is_on_gpu(self) -> bool:
        """Whether it takes another memory than the main memory."""
        return self.device is not None and self.device.type != "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model, its weights read and checked, and the ways to run it."""

    name: str
    sizing: Sizing
    description: str
    """For people: name, precision, device and so on."""
    identity: Identity
    context: Context
    variants: tuple[Variant, ...]
    """The best one first; each needs less memory than the one before it."""
    choice: str = ""
    """Which model and precision were chosen and why, in a line; empty where the settings name both."""
    summary: Callable[[Sequence[Decision]], tuple[str, ...]] = lambda _: ()
    """What is worth knowing of the decisions on all shots together, in lines for the report."""

    @property
    def device(self) -> torch.device | None:
        """Where the first variant runs; None: PyTorch computes nothing."""
        return self.variants[0].device

    @property
    def scale(self) -> int:
        """What its network multiplies sides by."""
        return self.sizing.scale

    @property
    def precision(self) -> str:
        """What the first variant computes in; empty where no network runs."""
        return str(self.identity.get("precision", ""))

    def reset_peak_gpu_memory(self) -> None:
        """Begin to measure `peak_gpu_memory_bytes` anew."""
        if self.device is not None and self.device.type == "cuda":
            import torch

            torch.cuda.init()  # type: ignore[no-untyped-call] # else, before a network is there, the next line fails
            torch.cuda.empty_cache()  # what is only kept for reuse was taken by someone before
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gpu_memory_bytes(self) -> int:
        """Most GPU memory that PyTorch has taken since `reset_peak_gpu_memory`; 0 without a CUDA GPU.

        Taken is more than in use: CUDA graphs keep what their steps need, and the allocator whole blocks.
        """
        if self.device is None or self.device.type != "cuda":
            return 0
        import torch

        return torch.cuda.max_memory_reserved(self.device)


def model_alone(decision: Decision) -> Decision:
    """Return what the model itself decided; with it alone, steps change nothing that hangs on places in the picture."""
    return replace(decision, values={k: v for k, v in decision.values.items() if k not in (REFINE, FACES)})
