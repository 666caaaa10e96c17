"""What `auto` means: the fastest precision that is exact enough."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import FLOATS, MEASURED, Precision
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.precision import (
    FAST_PSNR_DB,
    LEAST_PSNR_DB,
    Candidate,
    accuracy_of,
    candidates_for,
    direct_candidates,
    psnr_db,
    ranked,
    reason_for,
    speeds_of,
)
from vsr_pipeline.enhance.transfer import DTYPES
from vsr_pipeline.errors import PrecisionError
from vsr_pipeline.models.winograd import winograd_library


def fastest(
    settings: UpscaleConfig,
    device: torch.device,
    channels: int,
    psnr_of: Callable[[Candidate], float],
    candidates: Sequence[Candidate] | None = None,
) -> tuple[Candidate, str]:
    """Return what the settings mean by `auto` or `fast`, and why; nothing is measured where they leave no choice.

    Args:
        settings: which candidates may be taken.
        device: where they compute.
        channels: of the network's features.
        psnr_of: measures how exact the network is in a candidate, in dB.
        candidates: what the network can be computed with there; None: with all that there are.

    Raises:
        PrecisionError: the device cannot compute what they name.
    """
    allowed = [
        candidate
        for candidate in (candidates_for(device) if candidates is None else candidates)
        if settings.precision in (*MEASURED, candidate.precision)
        and settings.convolutions in ("auto", candidate.convolutions)
    ]
    if not allowed:
        raise _impossible(settings, device)
    if len(allowed) == 1:
        return allowed[0], ""
    speeds = speeds_of(allowed, device, channels)
    refused: dict[str, float] = {}
    least = FAST_PSNR_DB if settings.precision == "fast" else LEAST_PSNR_DB
    for candidate in ranked(allowed, speeds):
        if candidate is allowed[0] or (decibels := psnr_of(candidate)) >= least:
            return candidate, reason_for(candidate, speeds, refused, device, least)
        refused[candidate.name] = decibels
    raise AssertionError("the first candidate is always taken")


def fastest_direct(
    name: str,
    sha256: str,
    settings: UpscaleConfig,
    device: torch.device,
    output_in: Callable[[Precision], Tensor],
    *,
    channels: int,
    precisions: Sequence[str] = FLOATS,
) -> tuple[Candidate, str]:
    """Return what the settings mean for a network without Winograd's method, and why.

    Args:
        name: of the model, for messages.
        sha256: of its weights.
        settings: which candidates may be taken.
        device: where they compute.
        output_in: gives the network's output for a small frame in a precision.
        channels: of the network's features.
        precisions: what the network itself allows.

    Raises:
        PrecisionError: the network or the device cannot compute in what they name.
    """
    known = direct_candidates(name, settings, device, precisions)

    def psnr_of(candidate: Candidate) -> float:
        def measured() -> float:
            return psnr_db(output_in(candidate.precision).cpu(), output_in("fp32").cpu())

        return accuracy_of(candidate, device, sha256, measured)

    with out_of_memory_as_error():
        return fastest(settings, device, channels, psnr_of, candidates=known)


def put_on(module: nn.Module, device: torch.device, precision: Precision) -> None:
    """Put a network on its device, in a precision, in the layout that convolutions are fastest in."""
    if device.type == "cuda":
        # By default PyTorch rounds the factors of float32 convolutions to 10 bits there.
        torch.backends.cudnn.allow_tf32 = False
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in module.parameters():
        parameter.data = parameter.data.to(DTYPES[precision])


def _impossible(settings: UpscaleConfig, device: torch.device) -> PrecisionError:
    if settings.convolutions == "winograd":
        return PrecisionError(
            f"--convolutions winograd is for fp32 on a CPU with ncnn, not for {settings.precision} on "
            f"{device.type}{'' if winograd_library() else ' without ncnn'}: leave it out, or pip install "
            "'vsr-pipeline[ncnn]'"
        )
    return PrecisionError(f"--precision {settings.precision} is for GPUs: use auto, fp32 or bf16 on a CPU")
