"""From settings to a model that is ready: which one, its weights, device, precision.

Each kind of model is imported where it is opened: a run needs one of them, and interpolation and OpenCV's networks no
torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.clip.geometry import Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import choose_device
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import ModelError, PrecisionError, UsageError
from vsr_pipeline.runtime.files import file_sha256
from vsr_pipeline.runtime.progress import Reporter

if TYPE_CHECKING:
    from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
    from vsr_pipeline.checkpoints.load import Checkpoint
    from vsr_pipeline.enhance.net_steps import NetStepSpec

_VSR = ("realbasicvsr", "basicvsr")
# Options that change a model's pixels, the architectures that have them, and what they are for.
_DIALS: dict[str, tuple[tuple[str, ...], str]] = {
    "cleaning": (("realbasicvsr",), "RealBasicVSR, which cleans frames"),
    "tile": ((*manifest.FRAME_ARCHITECTURES, "zssr"), "frame models"),
    "zssr_steps": (("zssr",), "zssr"),
    "kernel": (("zssr",), "zssr"),
}
DIALS = (*_DIALS, "denoise", "detail")
"""All options that some models do not have."""


def open_model(settings: UpscaleConfig, *, allow_cpu: bool = False) -> ModelSpec:
    """Read the model that the settings name, and the networks of the steps after it.

    Nothing is put on a device before a variant of it is built.

    Args:
        settings: which model, and how it runs.
        allow_cpu: whether the CPU may be the last resort when a GPU's memory does not suffice.

    Raises:
        UsageError: options that contradict each other.
        ModelError: the model is unknown, or its weights are missing, damaged or of another kind.
        ResourceError: the device is not there.
    """
    spec = _model_alone(settings, allow_cpu=allow_cpu)
    why = "" if settings.checkpoint else manifest.why_chosen(settings.model)
    spec = replace(spec, choice="; ".join(filter(None, (why, spec.choice))))
    steps = _net_steps(settings, spec)
    if not steps:
        return spec
    from vsr_pipeline.enhance.net_steps import with_net_steps

    return with_net_steps(spec, steps)


def _net_steps(settings: UpscaleConfig, spec: ModelSpec) -> tuple[NetStepSpec, ...]:
    """Return the steps that the settings ask for, in their order; raises as `open_model`."""
    steps: list[NetStepSpec] = []
    if (refine := settings.refine_with) is not None:
        from vsr_pipeline.enhance.refine import refine_step

        entry = manifest.chosen(refine[0])
        if entry.kind != "frame" or entry.architecture == "opencv":
            raise UsageError(f"--refine {entry.name}: it is no frame model of Real-ESRGAN's kind: see vsr models list")
        path = manifest.verified_path(entry.name)
        checkpoint = _frame_checkpoint(entry.architecture, path, entry.name, UpscaleConfig(), entry)
        steps.append(refine_step(checkpoint, refine[1], spec, settings, choose_device(settings.device)))
    if settings.faces != "off":
        from vsr_pipeline.checkpoints.zoo import load_face_net
        from vsr_pipeline.enhance.faces import faces_step

        net, sha256, name = None, "", ""
        if settings.faces == "gfpgan":
            name = manifest.chosen_faces().name
            path = manifest.verified_path(name)
            net, sha256 = load_face_net(path), file_sha256(path)
        steps.append(faces_step(net, sha256, name, settings.face_strength, choose_device(settings.device)))
    return tuple(steps)


def _model_alone(settings: UpscaleConfig, *, allow_cpu: bool) -> ModelSpec:
    """Return the model without steps; raises as `open_model`."""
    entry = None if settings.checkpoint else manifest.chosen(settings.model)
    architecture = _architecture(settings.checkpoint) if settings.checkpoint else entry.architecture  # type: ignore[union-attr]
    name = settings.checkpoint.name if settings.checkpoint else entry.name  # type: ignore[union-attr]
    refuse_dials(settings, name, architecture, entry)
    if settings.backend == "mmedit" and architecture not in _VSR:
        raise UsageError(f"--backend mmedit runs RealBasicVSR and BasicVSR, not {name}: choose another model")
    if entry is not None and entry.kind == "interpolation":
        from vsr_pipeline.enhance.interpolation import interpolation_spec

        return interpolation_spec(name, architecture, sizing_of(settings), settings.segment_frames)
    if architecture == "opencv":
        _refuse_other_devices(settings, name)
        from vsr_pipeline.enhance.frame_model import frame_spec

        path = settings.checkpoint or manifest.verified_path(name)
        opencv_checkpoint = _frame_checkpoint(architecture, path, name, settings, entry)
        return frame_spec(opencv_checkpoint, settings, None, allow_cpu=allow_cpu)
    device = choose_device(settings.device)
    if architecture == "zssr":
        from vsr_pipeline.enhance.zssr import zssr_spec

        return zssr_spec(name, settings, sizing_of(settings), device, allow_cpu=allow_cpu)
    path = settings.checkpoint or manifest.verified_path(name)
    if architecture == "animesr":
        from vsr_pipeline.checkpoints.load import load_animesr
        from vsr_pipeline.enhance.animesr import animesr_spec

        return animesr_spec(load_animesr(path, name), settings, device, allow_cpu=allow_cpu)
    if architecture in manifest.FRAME_ARCHITECTURES:
        from vsr_pipeline.enhance.frame_model import frame_spec

        frame_checkpoint = _frame_checkpoint(architecture, path, name, settings, entry)
        return frame_spec(frame_checkpoint, settings, device, allow_cpu=allow_cpu)
    checkpoint = _vsr_checkpoint(settings, path, entry)
    settings = settings.model_copy(update={"cleaning": _cleaning(settings, entry)})
    if settings.backend == "mmedit":
        from vsr_pipeline.enhance.realbasicvsr_mmedit import mmedit_spec

        return mmedit_spec(name, checkpoint, settings, device)
    from vsr_pipeline.enhance.realbasicvsr import realbasicvsr_spec

    return realbasicvsr_spec(name, checkpoint, settings, device, allow_cpu=allow_cpu)


def _cleaning(settings: UpscaleConfig, entry: manifest.ModelEntry | None) -> float | Literal["auto"]:
    """Return the share of cleaning that the settings mean; measured is it only for models that say so."""
    is_measured = entry is not None and entry.measures_damage
    if settings.cleaning != "auto" or (is_measured and settings.windows == "exact" and settings.backend == "torch"):
        return settings.cleaning
    return 1.0


def sizing_of(settings: UpscaleConfig) -> Sizing:
    """Return what sizes the model that is meant makes. A checkpoint file is read for it.

    Raises:
        ModelError: the model is unknown, or its file is missing or damaged.
    """
    if settings.checkpoint is None:
        entry = manifest.chosen(settings.model)
        return Sizing(scale=entry.scale, is_any=entry.makes_any_size)
    return Sizing(scale=_scale_of_file(settings.checkpoint, _modified_ns(settings.checkpoint)))


def checkpoint_of(settings: UpscaleConfig) -> tuple[str, Checkpoint]:
    """Load the weights of RealBasicVSR or BasicVSR that the settings name; returns a name for them, too.

    Raises:
        ModelError: the model is unknown, or its weights are missing or damaged.
    """
    if settings.checkpoint is not None:
        return settings.checkpoint.name, _vsr_checkpoint(settings, settings.checkpoint, None)
    entry = manifest.chosen(settings.model)
    return entry.name, _vsr_checkpoint(settings, manifest.verified_path(entry.name), entry)


def _vsr_checkpoint(settings: UpscaleConfig, path: Path, entry: manifest.ModelEntry | None) -> Checkpoint:
    """Load weights of RealBasicVSR or BasicVSR, mixed with those of the plain model for `--detail`.

    Raises:
        ModelError: they are missing or damaged.
        PrecisionError: int8 is asked for of mixed weights.
    """
    from vsr_pipeline.checkpoints.load import load_checkpoint, mixed_checkpoint

    checkpoint = load_checkpoint(path)
    if entry is None or entry.plain is None or settings.detail == 1:
        return checkpoint
    plain = load_checkpoint(manifest.verified_path(entry.plain))
    if settings.detail == 0:
        return plain
    if settings.precision == "int8":
        raise PrecisionError("--precision int8 has no ranges for a --detail between 0 and 1: use auto, or --detail 1")
    return mixed_checkpoint(checkpoint, plain, settings.detail)


def note_model(spec: ModelSpec, reporter: Reporter) -> None:
    """Say what computes, and why it was chosen."""
    reporter.note(f"model: {spec.description}")
    if spec.choice:
        reporter.note(spec.choice)


def _architecture(path: Path) -> str:
    return _architecture_of_file(path, _modified_ns(path))


def _modified_ns(path: Path) -> int:
    """Return by what a file that has changed is told from what was read of it; 0: it is missing."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=8)
def _architecture_of_file(path: Path, modified_ns: int) -> str:  # noqa: ARG001
    if path.suffix == ".pb" and path.is_file():
        return "opencv"
    from vsr_pipeline.checkpoints.load import architecture_of

    return architecture_of(path)


@lru_cache(maxsize=8)
def _scale_of_file(path: Path, modified_ns: int) -> int:
    architecture = _architecture_of_file(path, modified_ns)
    if architecture == "animesr":
        from vsr_pipeline.checkpoints.load import load_animesr

        return load_animesr(path, path.name).net.scale
    if architecture in manifest.FRAME_ARCHITECTURES:
        return _loader_of(architecture)(path, path.name).net.scale
    return 4


def _loader_of(architecture: str) -> Callable[[Path, str], FrameCheckpoint]:
    """Return what reads a frame model's file; it takes a path and a name, and raises `ModelError`."""
    if architecture == "opencv":
        from vsr_pipeline.checkpoints.opencv_graph import opencv_checkpoint

        return opencv_checkpoint
    from vsr_pipeline.checkpoints.frame_nets import LOADERS

    return LOADERS[architecture]


def _frame_checkpoint(
    architecture: str, path: Path, name: str, settings: UpscaleConfig, entry: manifest.ModelEntry | None
) -> FrameCheckpoint:
    """Read a frame model's weights, mixed with those of its counterpart for `--denoise`.

    Raises:
        ModelError: they are missing or damaged, or the network has another scale than the manifest says.
    """
    if entry is not None and entry.denoising is not None and settings.denoise < 1:
        from vsr_pipeline.checkpoints.frame_nets import mixed_compact

        checkpoint = mixed_compact(manifest.verified_path(entry.denoising), path, settings.denoise, name)
    else:
        checkpoint = _loader_of(architecture)(path, name)
    if entry is not None and checkpoint.net.scale != entry.scale:
        raise ModelError(f"{path} enlarges by {checkpoint.net.scale}, the manifest says {entry.scale} for {name}")
    return checkpoint


def refuse_dials(settings: UpscaleConfig, name: str, architecture: str, entry: manifest.ModelEntry | None) -> None:
    """Refuse options that the model does not have.

    Args:
        settings: with the options.
        name: of the model, for the message.
        architecture: of the model.
        entry: of the model; None: it is a file.

    Raises:
        UsageError: one is given.
    """
    defaults = UpscaleConfig()
    for option, (architectures, whose) in _DIALS.items():
        # 1 was the default of cleaning, and is written in older files for all models.
        neutral = (getattr(defaults, option), *((1.0,) if option == "cleaning" else ()))
        if getattr(settings, option) not in neutral and architecture not in architectures:
            raise UsageError(f"--{option.replace('_', '-')} is for {whose}, not for {name}: leave it out")
    if settings.denoise != defaults.denoise and (entry is None or entry.denoising is None):
        raise UsageError(f"--denoise is for realesr-general-x4v3, not for {name}: leave it out")
    if settings.detail != defaults.detail and (entry is None or entry.plain is None):
        raise UsageError(f"--detail is for realbasicvsr-open-detail-x4, not for {name}: leave it out")


def _refuse_other_devices(settings: UpscaleConfig, name: str) -> None:
    """Refuse what OpenCV does not do.

    Raises:
        UsageError: another device is named.
        PrecisionError: another precision, or a way to compute convolutions, is named.
    """
    if settings.device not in ("auto", "cpu"):
        raise UsageError(f"--device {settings.device}: {name} is computed by OpenCV, on the CPU: leave it out")
    if settings.precision not in ("auto", "fp32"):
        raise PrecisionError(f"--precision {settings.precision}: {name} is computed by OpenCV, in fp32: leave it out")
    if settings.convolutions == "winograd":
        raise PrecisionError(f"--convolutions winograd is for RealBasicVSR and BasicVSR, not for {name}")
