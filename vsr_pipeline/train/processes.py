"""One process or several, one for each GPU, that train the same network (through `accelerate`, an optional extra)."""

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vsr_pipeline.enhance.device import choose_device
from vsr_pipeline.errors import ResourceError


class Processes:
    """The place of this process among those that `accelerate launch` or `torchrun` started; alone where neither did.

    Args:
        device: the setting `train.device`; several processes take a GPU each.

    Raises:
        ResourceError: there are several, and accelerate is not installed; or the device is not there.
        UsageError: the device is not known.
    """

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.index = 0
        if self.count == 1:
            self.device = choose_device(device)
            return
        try:
            from accelerate import PartialState  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise ResourceError(
                f"{self.count} processes were started, but accelerate is missing: pip install 'vsr-pipeline[train]'"
            ) from error
        state = PartialState(cpu=device == "cpu")
        self.index = state.process_index
        self.device = state.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.index == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, as one message."""
        if self.count == 1:
            return
        held = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in held])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        parts = torch.split(flat, [tensor.numel() for tensor in held])
        for tensor, part in zip(held, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums of numbers over all processes."""
        if self.count == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return sums.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        torch.distributed.all_reduce(flags)
        return bool(flags.item() > 0)
