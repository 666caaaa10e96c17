"""Which device and which precision the network runs in. Nothing falls back to something that was not asked for."""

from typing import Literal

import torch

from vsr_pipeline.errors import ResourceError, UsageError
from vsr_pipeline.runtime.progress import counted

Precision = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Compute capabilities: with Volta came tensor cores for fp16, with Ampere such for bf16.
_VOLTA, _AMPERE = (7, 0), (8, 0)


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device that is there.

    Raises:
        UsageError: the name is none of these.
        ResourceError: the device that was asked for is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"device '{name}' is not known: use auto, cpu, cuda, cuda:N or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("device 'mps' was asked for, but this machine has no Apple GPU: use --device auto")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if int(index or 0) >= count:
            raise ResourceError(
                f"device '{name}' was asked for, but {count} CUDA GPUs are visible: use --device auto or cpu, "
                "and see `vsr doctor`"
            )
        return torch.device("cuda", int(index or 0))
    return torch.device(kind)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Turn `auto`, `fp32`, `bf16` or `fp16` into a precision; `auto`: what the hardware is made for, bf16 before fp16.

    bf16 has the range of float32, so that no clip can overflow it. fp16 is many times faster than float32 on older
    GPUs; the largest value in the networks that ship is 500, where it ends at 65,504, and a segment that overflows
    after all is made again in float32.

    Raises:
        UsageError: the name is none of these, or the device cannot compute in it.
    """
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 is for GPUs: use auto, fp32 or bf16 on a CPU")
    for precision in DTYPES:
        if name == precision:
            return precision
    if name != "auto":
        raise UsageError(f"precision '{name}' is not known: use auto, fp32, bf16 or fp16")
    if device.type == "cuda":
        generation = torch.cuda.get_device_capability(device)
        if generation >= _AMPERE:
            return "bf16"
        return "fp16" if generation >= _VOLTA else "fp32"
    # Emulated bf16 would be slower than float32: only instructions for it count.
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def computes(device: torch.device | None) -> bool:
    """Whether a device still computes what it should: a product of two small matrices. None: no device is needed."""
    if device is None or device.type == "cpu":
        return True
    try:
        ones = torch.ones((64, 64), device=device)
        return bool((ones @ ones == 64).all())
    except torch.OutOfMemoryError:
        return True  # it is full, not broken
    except RuntimeError:
        return False


def describe(device: torch.device) -> str:
    """Name a device for people."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({counted(torch.get_num_threads(), 'thread')})" if device.type == "cpu" else str(device)
