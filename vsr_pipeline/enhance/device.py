"""Which device the network runs on. Nothing falls back to something that was not asked for.

torch is loaded by what asks it, so that models without it run without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from vsr_pipeline.errors import ResourceError, UsageError
from vsr_pipeline.runtime.progress import counted

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16", "fp16", "int8"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FLOATS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
"""What every network and device may be asked for."""
MEASURED = ("auto", "fast")
"""Settings that stand for the precision that is measured to be the fastest."""

GPU_IS_BROKEN = "the GPU no longer computes: see nvidia-smi and the system's log"


def devices_of(name: str) -> tuple[str, ...]:
    """Return the devices that a name stands for: `cuda:0,2` is (`cuda:0`, `cuda:2`), `cpu,cpu` is two processes.

    Raises:
        UsageError: GPUs and the CPU, whose pixels differ, or a GPU twice.
    """
    first, *others = name.split(",")
    devices = (first, *(f"cuda:{other}" if other.isdecimal() else other for other in others))
    kinds = {device.partition(":")[0] for device in devices}
    if others and kinds != {"cpu"} and (kinds != {"cuda"} or len(set(devices)) < len(devices) or "cuda" in devices):
        raise UsageError(f"device '{name}' is not known: several are cuda:N,M,..., each GPU once, or cpu,cpu")
    return devices


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device that is there.

    Raises:
        UsageError: the name is none of these.
        ResourceError: the device that was asked for is not there.
    """
    if len(devices_of(name)) > 1:
        raise UsageError(f"--device {name}: only `vsr run` and `vsr batch` compute on several devices: name one")
    import torch

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
        count = gpu_count()
        if int(index or 0) >= count:
            raise ResourceError(
                f"device '{name}' was asked for, but {count} CUDA GPUs are visible: use --device auto or cpu, "
                "and see `vsr doctor`"
            )
        return torch.device("cuda", int(index or 0))
    return torch.device(kind)


def gpu_count() -> int:
    """Return how many CUDA GPUs are visible."""
    import torch

    return torch.cuda.device_count()


def computes(device: torch.device | None) -> bool:
    """Whether a device still computes what it should: a product of two small matrices. None: no device is needed."""
    if device is None or device.type == "cpu":
        return True
    import torch

    try:
        ones = torch.ones((64, 64), device=device)
        return bool((ones @ ones == 64).all())
    except torch.OutOfMemoryError:
        return True  # it is full, not broken
    except RuntimeError:
        return False


def describe(device: torch.device) -> str:
    """Name a device for people."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({counted(torch.get_num_threads(), 'thread')})" if device.type == "cpu" else str(device)
