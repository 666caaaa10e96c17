"""From settings to a model that is ready: which one, its weights, device, precision."""

from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.checkpoints.load import Checkpoint, load_checkpoint
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import choose_device
from vsr_pipeline.enhance.interpolation import interpolation_spec
from vsr_pipeline.enhance.realbasicvsr import realbasicvsr_spec
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import UsageError
from vsr_pipeline.runtime.progress import Reporter


def open_model(settings: UpscaleConfig, *, allow_cpu: bool = False) -> ModelSpec:
    """Read the model that the settings name. Nothing is put on a device before a variant of it is built.

    Args:
        settings: which model, and how it runs.
        allow_cpu: whether the CPU may be the last resort when a GPU's memory does not suffice.

    Raises:
        UsageError: options that contradict each other.
        ModelError: the model is unknown, or its weights are missing, damaged or of another kind.
        ResourceError: the device is not there.
    """
    entry = None if settings.checkpoint else manifest.chosen(settings.model)
    if entry is not None and entry.kind == "interpolation":
        if settings.backend == "mmedit":
            raise UsageError(f"--backend mmedit runs networks, {entry.name} is none: choose a model or --checkpoint")
        return interpolation_spec(entry.name, entry.architecture, entry.scale, settings.segment_frames)
    device = choose_device(settings.device)
    name, checkpoint = checkpoint_of(settings)
    if settings.backend == "mmedit":
        from vsr_pipeline.enhance.realbasicvsr_mmedit import mmedit_spec

        return mmedit_spec(name, checkpoint, settings, device)
    return realbasicvsr_spec(name, checkpoint, settings, device, allow_cpu=allow_cpu)


def checkpoint_of(settings: UpscaleConfig) -> tuple[str, Checkpoint]:
    """Load the weights that the settings name; returns a name for them, too.

    Raises:
        ModelError: the model is unknown, or its weights are missing or damaged.
    """
    if settings.checkpoint is not None:
        return settings.checkpoint.name, load_checkpoint(settings.checkpoint)
    entry = manifest.chosen(settings.model)
    return entry.name, load_checkpoint(manifest.verified_path(entry.name))


def note_model(spec: ModelSpec, reporter: Reporter) -> None:
    """Say what computes, and why it was chosen."""
    reporter.note(f"model: {spec.description}")
    if spec.choice:
        reporter.note(spec.choice)
