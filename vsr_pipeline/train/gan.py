"""The adversarial part of stage 2: a discriminator that is trained against the network (vanilla GAN)."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vsr_pipeline.models.discriminator import UNetDiscriminator
from vsr_pipeline.train.processes import Processes

_BETAS = (0.9, 0.99)


class Adversary:
    """The discriminator and its optimizer.

    Args:
        rate: its learning rate, constant.
        device: where it runs.
    """

    def __init__(self, rate: float, device: torch.device) -> None:
        self.net = UNetDiscriminator().to(device).requires_grad_(False)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.Adam(self.net.parameters(), lr=rate, betas=_BETAS)

    def generator_loss(self, output_NCHW: Tensor) -> Tensor:
        """Return how far the frames are from being taken for real; no gradient goes to the discriminator."""
        return _towards(self.net(output_NCHW), real=True)

    def own_loss(self, output_NCHW: Tensor, truth_NCHW: Tensor) -> Tensor:
        """Return how badly the discriminator tells true frames from made ones."""
        self.net.requires_grad_(True)
        return _towards(self.net(truth_NCHW), real=True) + _towards(self.net(output_NCHW.detach()), real=False)

    def step(self, loss: Tensor, processes: Processes) -> None:
        """Make that loss smaller."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        processes.average(p.grad for p in self.net.parameters() if p.grad is not None)
        self._optimizer.step()
        self.net.requires_grad_(False)

    def parts(self) -> dict[str, Any]:
        """Return everything that changes, as state dicts."""
        return {"discriminator": self.net.state_dict(), "discriminator_optimizer": self._optimizer.state_dict()}

    def restore(self, parts: dict[str, Any]) -> None:
        """Go back to what `parts` gave."""
        self.net.load_state_dict(parts["discriminator"])
        self._optimizer.load_state_dict(parts["discriminator_optimizer"])


def _towards(logits: Tensor, *, real: bool) -> Tensor:
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
