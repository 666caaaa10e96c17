"""From settings to an upscaler that is ready: model, weights, device, precision."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from vsr_pipeline.checkpoints import manifest as weights
from vsr_pipeline.checkpoints.manifest import BICUBIC
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.cuda_graphs import cuda_recorder
from vsr_pipeline.enhance.device import choose_device, choose_precision, describe
from vsr_pipeline.enhance.transfer import out_of_memory_as_error
from vsr_pipeline.enhance.upscale import BicubicUpscaler, ExactUpscaler, OfficialUpscaler, Upscaler, Windows, prepare
from vsr_pipeline.errors import ModelError, UsageError
from vsr_pipeline.models import BasicVSRNet, RealBasicVSRNet
from vsr_pipeline.models.winograd import winograd_library


@dataclass(eq=False, slots=True)
class BuiltUpscaler:
    """An upscaler, what it is, for people, and everything that its pixels depend on, for records.

    It can be released from memory; whoever asks for it after that loads it again.
    """

    _upscaler: Upscaler | None
    description: str
    identity: Mapping[str, str | int | float]
    device: torch.device | None = None
    """None where no network runs."""
    load_again: Callable[[], "BuiltUpscaler"] | None = None
    """Builds the same once more; None: it cannot be released."""
    notes: list[str] = field(default_factory=list)
    """What it could not do as the settings say, since `take_notes`."""

    @property
    def upscaler(self) -> Upscaler:
        """The upscaler, loaded again where it was released.

        Raises:
            ModelError: its weights are others by now, or cannot be read.
            OutOfMemoryError: it does not fit into the device's memory.
        """
        if self._upscaler is None:
            assert self.load_again is not None
            again = self.load_again()
            refuse_changed_weights(self, again)
            self._upscaler, self.notes = again._upscaler, again.notes
        assert self._upscaler is not None
        return self._upscaler

    def release(self) -> None:
        """Let go of the upscaler, its weights and its CUDA graphs."""
        if self.load_again is not None:
            self._upscaler = None

    def release_graphs(self) -> None:
        """Let go of recorded CUDA graphs, which keep memory for the size of frames that they were recorded for."""
        if isinstance(self._upscaler, ExactUpscaler):
            self._upscaler.release_graphs()

    def take_notes(self) -> tuple[str, ...]:
        """Return what it could not do as the settings say since the last call, each thing once."""
        notes = tuple(dict.fromkeys(self.notes))
        self.notes.clear()
        return notes

    def reset_peak_gpu_memory(self) -> None:
        """Begin to measure `peak_gpu_memory_bytes` anew."""
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gpu_memory_bytes(self) -> int:
        """Most GPU memory that this process has had in use since `reset_peak_gpu_memory`; 0 without a CUDA GPU."""
        on_gpu = self.device is not None and self.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.device) if on_gpu else 0


def build_upscaler(settings: UpscaleConfig, band_rows: int | None = None) -> BuiltUpscaler:
    """Load the model that the settings name onto the device that they name.

    Args:
        settings: which model, and how.
        band_rows: compute features in bands of at most so many rows; see `vsr_pipeline.enhance.upscale.prepare`.

    Raises:
        UsageError: options that contradict each other.
        ModelError: the model is unknown, or its weights are missing, damaged or of another kind.
        ResourceError: the device is not there.
    """
    if settings.model == BICUBIC and settings.checkpoint is None:
        if settings.backend == "mmedit":
            raise UsageError(f"--backend mmedit runs networks, {BICUBIC} is none: choose a model or --checkpoint")
        return BuiltUpscaler(
            BicubicUpscaler(settings.segment_frames),
            BICUBIC,
            {"model": BICUBIC, "segment_frames": settings.segment_frames},
        )
    device = choose_device(settings.device)
    name, checkpoint = checkpoint_of(settings)
    if settings.backend == "mmedit":
        return _official_backend(settings, name, checkpoint, device)
    precision = choose_precision(settings.precision, device)
    winograd = winograd_for(settings, device, precision)
    net = net_for(checkpoint)
    upscaler: Upscaler
    notes: list[str] = []
    with out_of_memory_as_error():
        prepare(net, device=device, precision=precision, band_rows=band_rows, winograd=winograd is not None)
    if settings.windows == "official":
        upscaler = OfficialUpscaler(
            _with_threshold(net, settings.refine_threshold),
            device=device,
            max_seq_len=settings.max_seq_len,
            segment_frames=settings.segment_frames,
        )
    else:
        upscaler = ExactUpscaler(
            net,
            device=device,
            windows=Windows(
                max_seq_len=settings.max_seq_len,
                lookahead=settings.lookahead,
                warm_up=settings.warm_up,
                segment_frames=settings.segment_frames,
            ),
            refine_threshold=settings.refine_threshold,
            record=cuda_recorder(device) if records_graphs(settings, device, band_rows) else None,
            on_note=notes.append,
        )
    by = f" by {winograd}" if winograd else ""
    windows = f"{settings.windows} windows of {settings.max_seq_len}"
    description = f"{name} in {precision}{by} on {describe(device)}, {windows}"
    identity = _identity(settings, checkpoint, precision, device, winograd or "direct")
    load_again = partial(build_upscaler, settings, band_rows)
    return BuiltUpscaler(upscaler, description, identity, device, load_again, notes)


def refuse_changed_weights(first: BuiltUpscaler, again: BuiltUpscaler) -> None:
    """Refuse an upscaler that was loaded later from other weights than the first one.

    Raises:
        ModelError: it was.
    """
    if again.identity.get("weights_sha256") != first.identity.get("weights_sha256"):
        raise ModelError(f"the weights of {first.description} have changed since the run began: start it again")


def winograd_for(settings: UpscaleConfig, device: torch.device, precision: str) -> str | None:
    """Return what computes convolutions by Winograd's method with these settings; None: they are direct ones."""
    suits = device.type == "cpu" and precision == "fp32" and settings.backend == "torch"
    return winograd_library() if suits and settings.convolutions == "auto" else None


def records_graphs(settings: UpscaleConfig, device: torch.device, band_rows: int | None) -> bool:
    """Whether steps are replayed as CUDA graphs. Not in bands, which are there to save memory."""
    return device.type == "cuda" and settings.cuda_graphs and band_rows is None


def net_for(checkpoint: weights.Checkpoint) -> BasicVSRNet | RealBasicVSRNet:
    """Build the network of a checkpoint, with its weights.

    Raises:
        ModelError: a tensor has another shape than its name says.
    """
    net: BasicVSRNet | RealBasicVSRNet
    if checkpoint.family == "realbasicvsr":
        assert checkpoint.num_cleaning_blocks is not None
        net = RealBasicVSRNet(
            checkpoint.mid_channels,
            checkpoint.num_propagation_blocks,
            checkpoint.num_cleaning_blocks,
            checkpoint.cleaning_channels,
        )
    else:
        net = BasicVSRNet(checkpoint.mid_channels, checkpoint.num_propagation_blocks)
    try:
        net.load_state_dict(dict(checkpoint.state_dict), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the checkpoint does not fit its own network: {reason}") from error
    return net


def checkpoint_of(settings: UpscaleConfig) -> tuple[str, weights.Checkpoint]:
    """Load the weights that the settings name; returns a name for them, too.

    Raises:
        ModelError: the model is unknown, or its weights are missing or damaged.
    """
    if settings.checkpoint is not None:
        return settings.checkpoint.name, weights.load_checkpoint(settings.checkpoint)
    entry = weights.choose_auto() if settings.model == "auto" else weights.find(settings.model)
    return entry.name, weights.load_checkpoint(weights.verified_path(entry.name))


def _with_threshold(net: BasicVSRNet | RealBasicVSRNet, threshold: float) -> Callable[[Tensor], Tensor]:
    if isinstance(net, RealBasicVSRNet):
        return lambda frames_NTCHW: net(frames_NTCHW, refine_threshold=threshold)
    return net


def _official_backend(
    settings: UpscaleConfig, name: str, checkpoint: weights.Checkpoint, device: torch.device
) -> BuiltUpscaler:
    from vsr_pipeline.enhance.mmedit_backend import OfficialNet

    if settings.precision not in ("auto", "fp32"):
        raise UsageError(f"--backend mmedit computes in fp32, not in {settings.precision}")
    net = OfficialNet(checkpoint, refine_threshold=settings.refine_threshold, device=device)
    upscaler = OfficialUpscaler(
        net, device=device, max_seq_len=settings.max_seq_len, segment_frames=settings.segment_frames
    )
    description = f"{name} by mmedit on {describe(device)}, official windows of {settings.max_seq_len}"
    identity = _identity(settings, checkpoint, "fp32", device, "direct")
    return BuiltUpscaler(upscaler, description, identity, device, partial(build_upscaler, settings))


def _identity(
    settings: UpscaleConfig, checkpoint: weights.Checkpoint, precision: str, device: torch.device, convolutions: str
) -> dict[str, str | int | float]:
    names = ("backend", "windows", "max_seq_len", "lookahead", "warm_up", "segment_frames", "refine_threshold")
    values = settings.model_dump(mode="json")
    return {
        "weights_sha256": checkpoint.sha256,
        "precision": precision,
        "convolutions": convolutions,
        "device": device.type,
        **{name: values[name] for name in names},
    }
