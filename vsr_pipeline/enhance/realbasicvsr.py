"""BasicVSR and RealBasicVSR as a model: segments over their stream, one decision per shot, ways to need less memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from vsr_pipeline.checkpoints.load import Checkpoint
from vsr_pipeline.clip.damage import damage_of
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.cuda_graphs import GraphedStep, Record, Step, cuda_recorder
from vsr_pipeline.enhance.device import Precision, describe
from vsr_pipeline.enhance.frames import take
from vsr_pipeline.enhance.realbasicvsr_cleaning import (
    cleaned,
    cleaned_in_part,
    passes_of,
    share_of,
    with_input_given_back,
)
from vsr_pipeline.enhance.realbasicvsr_memory import NetworkSizes, peak_bytes
from vsr_pipeline.enhance.realbasicvsr_network import Net, choose, net_for, prepare, refuse_other_shapes
from vsr_pipeline.enhance.realbasicvsr_official import OfficialUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import SCALE, RecurrentStream, Steps, Windows, frames_at_once
from vsr_pipeline.enhance.spec import (
    CHECKPOINT_FRAMES,
    Carry,
    Checkpoints,
    Context,
    Frame,
    Identity,
    ModelSpec,
    OnWork,
    Upscaler,
    Variant,
)
from vsr_pipeline.enhance.transfer import check_finite, out_of_memory_as_error, to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models import RealBasicVSRNet
from vsr_pipeline.models.basicvsr import pad_to_minimum
from vsr_pipeline.models.winograd import winograd_library
from vsr_pipeline.plan import count_backward_steps
from vsr_pipeline.timeline import ClipSize, Decision, Segment

CLEANING_SAMPLES = 5
"""Frames of a shot by which its number of cleaning passes is decided."""

_FORWARD = "forward"
# Each window runs backward through its lookahead again, so shorter ones would save little and cost much.
_SHORTEST_WINDOW = 5
# Rows that neighbouring bands both compute (30 residual blocks reach 61 rows) make the lowest cost three times as much.
_BANDS = (512, 256, 128, 64)


class SegmentUpscaler:
    """Segments of a shot by `RecurrentStream`, with warm-up and lookahead from the frames around them.

    Args:
        net: prepared; see `prepare`.
        device: where it is.
        windows: how clips are cut.
        refine_threshold: of dynamic refinement.
        cleaning: share of what cleaning changes that is taken, 0 to 1; `auto`: as damaged as each shot is measured to
            be, and by the rest of that share, HR frames show again what of the LQ frames is lost in them.
        record: what records propagation and reconstruction, which are computed frame by frame, as graphs; None: they
            are not recorded. Reading needs none on a GPU: it computes several frames at once.

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
        passes, share = passes_of(decision), share_of(decision, self._cleaning)
        shown = take(iter(frames), segment.context_stop - segment.context_start)
        if self._cleaning == "auto" and share < 1:
            return with_input_given_back(
                lambda inputs: self._enlarged(inputs, segment, passes, share, on_work, carry),
                shown,
                segment.warm_up,
                1 - share,
            )
        return self._enlarged(shown, segment, passes, share, on_work, carry)

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

        def at_border(given: int, features: Tensor) -> None:
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


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to run the network; variants are made of these."""

    settings: UpscaleConfig
    device: torch.device
    precision: Precision
    description: str
    band_rows: int | None = None
    """Largest height of a band in LQ pixels; None: whole frames."""

    @property
    def winograd(self) -> str | None:
        """As `winograd_for`."""
        return winograd_for(self.settings, self.device, self.precision)


def realbasicvsr_spec(
    name: str, checkpoint: Checkpoint, settings: UpscaleConfig, device: torch.device, *, allow_cpu: bool
) -> ModelSpec:
    """Return BasicVSR or RealBasicVSR with the weights of a checkpoint.

    Args:
        name: of the model, or of the checkpoint's file.
        checkpoint: its weights.
        settings: how it runs.
        device: where it runs.
        allow_cpu: whether the CPU may be the last resort.

    Raises:
        ModelError: a tensor has another shape than its name says.
        UsageError: the device cannot compute in the precision.
    """
    refuse_other_shapes(checkpoint)
    taken, choice = choose(settings, checkpoint, device)
    precision = taken.precision
    winograd = winograd_library() if taken.convolutions == "winograd" else None
    by = f" by {winograd}" if winograd else ""
    official = "official " if settings.windows == "official" else ""
    windows = f"{official}windows of {settings.max_seq_len} frames"
    chosen = settings.model_copy(update={"precision": taken.precision, "convolutions": taken.convolutions})
    return ModelSpec(
        name=name,
        sizing=Sizing(scale=SCALE),
        description=f"{name} in {precision}{by} on {describe(device)}, {windows}",
        identity=identity_of(settings, checkpoint, precision, device, winograd or "direct"),
        context=context_of(settings),
        variants=variants_of(checkpoint, chosen, device, precision, allow_cpu=allow_cpu),
        choice=choice,
    )


def variants_of(
    checkpoint: Checkpoint, settings: UpscaleConfig, device: torch.device, precision: Precision, *, allow_cpu: bool
) -> tuple[Variant, ...]:
    """Return the ways to run a network, each of which needs less memory than the one before it.

    Windows as configured, half as long, half of that; direct convolutions instead of Winograd's; frames in bands; the
    CPU. The official script's windows are for comparison with it: they are not shortened, and their frames are not cut.
    """
    return tuple(_variant(way, checkpoint) for way in _ways(settings, device, precision, allow_cpu=allow_cpu))


def winograd_for(settings: UpscaleConfig, device: torch.device, precision: Precision) -> str | None:
    """Return what computes convolutions by Winograd's method; None: they are direct ones."""
    suits = device.type == "cpu" and precision == "fp32" and settings.convolutions != "direct"
    return winograd_library() if suits else None


def context_of(settings: UpscaleConfig) -> Context:
    """Return how clips are cut: official windows start at multiples of their length, whatever is shown there."""
    if settings.windows == "official" or settings.backend == "mmedit":
        length = settings.max_seq_len
        return Context(
            segment_frames=max(1, settings.segment_frames // length) * length, follow_shots=False, every_frame=True
        )
    return Context(
        segment_frames=settings.segment_frames,
        warm_up=settings.warm_up,
        lookahead=settings.lookahead,
        decision_frames=CLEANING_SAMPLES,
    )


def identity_of(
    settings: UpscaleConfig, checkpoint: Checkpoint, precision: str, device: torch.device, convolutions: str
) -> Identity:
    """Return everything that the pixels depend on."""
    windows = ("backend", "windows", "max_seq_len", "lookahead", "warm_up", "segment_frames")
    names = (*windows, "refine_threshold", "cleaning")
    values = settings.model_dump(mode="json")
    return {
        "weights_sha256": checkpoint.sha256,
        "precision": precision,
        "convolutions": convolutions,
        "device": device.type,
        **{name: values[name] for name in names},
    }


def records_graphs(settings: UpscaleConfig, device: torch.device, band_rows: int | None) -> bool:
    """Whether steps are replayed as CUDA graphs. Not in bands, which are there to save memory: graphs keep some."""
    return device.type == "cuda" and settings.cuda_graphs and band_rows is None


def _ways(settings: UpscaleConfig, device: torch.device, precision: Precision, *, allow_cpu: bool) -> tuple[_Way, ...]:
    ways = [_Way(settings, device, precision, f"windows of {settings.max_seq_len}")]
    is_exact = settings.windows == "exact"
    while is_exact and settings.max_seq_len // 2 >= _SHORTEST_WINDOW:
        settings = settings.model_copy(update={"max_seq_len": settings.max_seq_len // 2})
        ways.append(_Way(settings, device, precision, f"windows of {settings.max_seq_len}"))
    if ways[0].winograd:
        settings = settings.model_copy(update={"convolutions": "direct"})
        ways.append(_Way(settings, device, precision, f"direct convolutions in windows of {settings.max_seq_len}"))
    if is_exact:
        ways += [_Way(settings, device, precision, f"bands of {rows} rows", rows) for rows in _BANDS]
    if allow_cpu and device.type != "cpu":
        cpu = torch.device("cpu")
        # Nothing is measured for the last resort. How much memory a CPU has is not known, and running out of it ends
        # the process.
        ways.append(_Way(settings, cpu, "fp32", "the CPU", _BANDS[0] if is_exact else None))
    return tuple(ways)


def _variant(way: _Way, checkpoint: Checkpoint) -> Variant:
    sizes = NetworkSizes.of(checkpoint)
    return Variant(
        description=way.description,
        device=way.device,
        memory_bytes=lambda clip: peak_bytes(
            way.settings,
            clip,
            sizes,
            on_gpu=way.device.type != "cpu",
            sample_bytes=4 if way.precision == "fp32" else 2,
            band_rows=way.band_rows,
            winograd=way.winograd is not None,
        ),
        build=partial(_build, way, checkpoint, way.precision),
        build_in_fp32=None if way.precision == "fp32" else partial(_build, way, checkpoint, "fp32"),
        checkpoints=partial(_checkpoints, way, sizes),
    )


def _checkpoints(way: _Way, sizes: NetworkSizes, clip: ClipSize) -> Checkpoints:
    """Return that segments may go on at the borders of windows, but for windows that are very short."""
    length = way.settings.max_seq_len
    frames = -(-CHECKPOINT_FRAMES // length) * length
    if way.settings.windows == "official":
        return Checkpoints(frames)
    pixels = clip.width * clip.height
    sample_bytes = 4 if way.precision == "fp32" else 2
    return Checkpoints(frames, sizes.channels * pixels * sample_bytes, frames_at_once(pixels, way.device))


def _build(way: _Way, checkpoint: Checkpoint, precision: Precision) -> Upscaler:
    settings, device = way.settings, way.device
    net = net_for(checkpoint)
    with out_of_memory_as_error():
        prepare(
            net,
            device=device,
            precision=precision,
            band_rows=way.band_rows,
            winograd=precision == way.precision and way.winograd is not None,
        )
    if settings.windows == "official":
        return OfficialUpscaler(net, settings.refine_threshold, device=device, max_seq_len=settings.max_seq_len)
    record = cuda_recorder(device) if records_graphs(settings, device, way.band_rows) else None
    windows = Windows(
        max_seq_len=settings.max_seq_len,
        lookahead=settings.lookahead,
        warm_up=settings.warm_up,
        segment_frames=settings.segment_frames,
    )
    return SegmentUpscaler(
        net,
        device=device,
        windows=windows,
        refine_threshold=settings.refine_threshold,
        cleaning=settings.cleaning,
        record=record,
    )
