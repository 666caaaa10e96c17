"""What a clip was begun with takes the place of `auto`. Loads no torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from vsr_pipeline.checkpoints.manifest import needs_device, stand_ins_of
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.config_steps import refine_from
from vsr_pipeline.enhance.device import MEASURED, PRECISIONS, choose_device
from vsr_pipeline.enhance.spec import Identity

if TYPE_CHECKING:
    import torch


def as_recorded(settings: UpscaleConfig, identity: Identity, *, here: torch.device | None = None) -> UpscaleConfig:
    """Return the settings with the precision and the convolutions that were chosen before, where they say `auto`.

    Args:
        settings: as configured; what they name stays.
        identity: that of a `ModelSpec`. What it does not say stays `auto`.
        here: where it will be computed. What is of another kind of device is not taken, and no Winograd's method
            where ncnn is missing: whoever compares identities says so. None: workers will look themselves.
    """
    chosen: dict[str, object] = {}
    # What was begun before it was measured is cleaned wholly, as it was.
    if settings.cleaning == "auto" and identity and (share := identity.get("cleaning", 1.0)) != "auto":
        chosen["cleaning"] = float(share)
    if here is not None and identity.get("device") != here.type:
        return settings.model_copy(update=chosen)
    # A model that another one stands in for keeps those weights.
    if settings.checkpoint is None and identity.get("model") in stand_ins_of(settings.model):
        chosen["model"] = identity["model"]
    # So does one that refines.
    begun = refine_from(str(identity.get("refine", "none")))
    if begun is not None and (asked := settings.refine_with) is not None and begun[0] in stand_ins_of(asked[0]):
        chosen["refine"] = f"{begun[0]}:{asked[1]:g}"
    # Mixed weights have no ranges: what was begun in int8 is another job, and whoever compares identities says so.
    known = [name for name in PRECISIONS if name != "int8" or settings.detail in (0, 1)]
    if settings.precision in MEASURED and identity.get("precision") in known:
        chosen["precision"] = identity["precision"]
    convolutions = str(identity.get("convolutions", "auto"))
    # On a GPU there is one way; if the CPU is the last resort, it chooses by itself.
    if settings.convolutions == "auto" and convolutions != "auto" and identity.get("device") == "cpu":
        by_winograd = convolutions.startswith("ncnn") and (here is None or find_spec("ncnn") is not None)
        chosen["convolutions"] = "winograd" if by_winograd else "direct"
    return settings.model_copy(update=chosen)


def as_recorded_here(settings: UpscaleConfig, identity: Identity) -> UpscaleConfig:
    """Do the same for what this process computes, on the device that the settings mean."""
    if not (settings.has_net_steps or needs_device(settings.model, settings.checkpoint)):
        # Nothing is to be chosen: torch is not loaded to look for a device, and what another model computed in is no
        # matter.
        kept = {name: value for name, value in identity.items() if name not in ("precision", "convolutions")}
        return as_recorded(settings, kept)
    # An identity without a device is of a model without one.
    is_known = identity.get("device", "auto") != "auto"
    return as_recorded(settings, identity, here=choose_device(settings.device) if is_known else None)
