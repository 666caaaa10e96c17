"""BasicVSR and RealBasicVSR as a model: how clips are cut, what pixels depend on, ways to need less memory."""

from dataclasses import dataclass
from functools import partial

import torch

from vsr_pipeline.checkpoints.load import Checkpoint
from vsr_pipeline.clip.geometry import Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.cuda_graphs import cuda_recorder
from vsr_pipeline.enhance.device import Precision, describe
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.realbasicvsr_memory import NetworkSizes, peak_bytes
from vsr_pipeline.enhance.realbasicvsr_network import choose, net_for, prepare, refuse_other_shapes
from vsr_pipeline.enhance.realbasicvsr_official import OfficialUpscaler
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import SCALE, Windows, frames_at_once
from vsr_pipeline.enhance.spec import (
    CHECKPOINT_FRAMES,
    INT8,
    Checkpoints,
    Context,
    Identity,
    ModelSpec,
    Upscaler,
    Variant,
)
from vsr_pipeline.enhance.transfer import DTYPES
from vsr_pipeline.models.int8 import int8_instructions
from vsr_pipeline.models.winograd import winograd_library
from vsr_pipeline.timeline import ClipSize

CLEANING_SAMPLES = 5
"""Frames of a shot by which its number of cleaning passes is decided."""

# Each window runs backward through its lookahead again, so shorter ones would save little and cost much.
_SHORTEST_WINDOW = 5
# Rows that neighbouring bands both compute (30 residual blocks reach 61 rows) make the lowest cost three times as much.
_BANDS = (512, 256, 128, 64)


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
    identity: dict[str, str | int | float] = {
        "weights_sha256": checkpoint.sha256,
        "precision": precision,
        "convolutions": convolutions,
        "device": device.type,
        **{name: values[name] for name in names},
    }
    if settings.cleaning == "auto":
        identity["chroma"] = "cleaned where measured"
    if precision == "int8":
        calibration = checkpoint.calibration
        assert calibration is not None
        identity[INT8] = f"{int8_instructions()}, ranges {calibration.sha256[:16]}"
    return identity


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
            sample_bytes=DTYPES[way.precision].itemsize,
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
    sample_bytes = DTYPES[way.precision].itemsize
    return Checkpoints(frames, sizes.channels * pixels * sample_bytes, frames_at_once(pixels, way.device))


def _build(way: _Way, checkpoint: Checkpoint, precision: Precision) -> Upscaler:
    settings, device = way.settings, way.device
    net = net_for(checkpoint)
    calibration = checkpoint.calibration if precision == "int8" else None
    with out_of_memory_as_error():
        outside = prepare(
            net,
            device=device,
            precision=precision,
            band_rows=way.band_rows,
            winograd=precision == way.precision and way.winograd is not None,
            ranges=calibration.ranges if calibration else None,
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
        outside=outside,
    )
