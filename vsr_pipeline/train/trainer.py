"""One iteration of training, and all that changes by it: weights, their moving average, the optimizer."""

import math
from typing import Any

import torch
from torch import Tensor

from vsr_pipeline.enhance.precision import candidates_for, ranked, speeds_of
from vsr_pipeline.errors import NotFiniteError
from vsr_pipeline.train.config import RunConfig, TrainConfig
from vsr_pipeline.train.gan import Adversary
from vsr_pipeline.train.losses import pixel_losses
from vsr_pipeline.train.network import Sample, TrainingNet, build_network, middle, parameter_groups
from vsr_pipeline.train.perceptual import perceptual_loss
from vsr_pipeline.train.processes import Processes

_BETAS = (0.9, 0.99)
_LAST_RATE = 0.01
"""The learning rate at the end of the cosine, as a part of the highest one."""


class Trainer:
    """The state of a run on one device.

    Raises:
        ConfigError, ModelError: as `build_network` and `perceptual_loss`.
    """

    def __init__(self, config: RunConfig, processes: Processes) -> None:
        torch.manual_seed(config.train.seed)
        if config.train.threads is not None:
            torch.set_num_threads(config.train.threads)
        self.config = config
        self.device = processes.device
        self._processes = processes
        self.net = build_network(config.model).to(self.device)
        # Convolutions in 16 bits are fastest in this layout, on CPUs and GPUs alike.
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(self.net, config)
        self._forward = TrainingNet(self.net)
        self._optimizer = torch.optim.Adam(groups, lr=config.train.learning_rate, betas=_BETAS)
        self._trained = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone() for name, p in self._trained.items()}
        losses = config.losses
        self._adversary = Adversary(config.train.discriminator_rate, self.device) if losses.gan > 0 else None
        self._in_bf16: bool | None = None
        perceptual = perceptual_loss(losses)
        self._perceptual = None if perceptual is None else perceptual.to(self.device)

    def step(self, batch: Sample, iteration: int, progress: float) -> dict[str, float]:
        """Do an iteration; returns the losses by name, and `rate`, the learning rate.

        Args:
            batch: its sequences.
            iteration: its number, from 0.
            progress: how much of the run is done, 0 to 1.

        Raises:
            NotFiniteError: the loss is no number any more.
        """
        rate = learning_rate(self.config.train, iteration, progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        lq, clean, truth, target = self._on_device(batch)
        with self._autocast():
            output, cleaned = self._forward(lq, self.config.losses.upscales)
            if output is not None and target is not None:  # a teacher may have answered for some frames alone
                output = output[:, middle(output.shape[1], target.shape[1])]
            losses = pixel_losses(output, cleaned, target, clean, self.config.losses)
            losses |= self._frame_losses(output, target)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise NotFiniteError(
                f"the loss of iteration {iteration} is not finite: lower train.learning_rate, or set "
                "train.gradient_clip, and continue from the last checkpoint"
            )
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._processes.average(p.grad for p in self._trained.values() if p.grad is not None)
        if self.config.train.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._trained.values(), self.config.train.gradient_clip)
        self._optimizer.step()
        self._update_average(iteration)
        if self._adversary is not None:
            assert output is not None
            assert truth is not None
            with self._autocast():
                losses["discriminator"] = self._adversary.own_loss(output.flatten(0, 1), truth.flatten(0, 1))
            self._adversary.step(losses["discriminator"], self._processes)
        return {name: loss.item() for name, loss in losses.items()} | {"loss": total.item(), "rate": rate}

    def _frame_losses(self, output: Tensor | None, target: Tensor | None) -> dict[str, Tensor]:
        """Return the weighted losses that look at whole HR frames (N, T, 3, 4H, 4W), by name."""
        losses = {}
        if self._perceptual is not None:
            assert output is not None
            assert target is not None
            distance = self._perceptual(output.flatten(0, 1), target.flatten(0, 1))
            losses["perceptual"] = self.config.losses.perceptual * distance
        if self._adversary is not None:
            assert output is not None
            losses["gan"] = self.config.losses.gan * self._adversary.generator_loss(output.flatten(0, 1))
        return losses

    @torch.inference_mode()
    def enhance(self, lq_NTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return HR frames and cleaned frames, clipped, on the CPU, of uint8 LQ frames, with the present weights."""
        with self._autocast():
            output, cleaned = self._forward(_unit(lq_NTCHW.to(self.device)), True)
        return output.float().clamp(0, 1).cpu(), cleaned.float().clamp(0, 1).cpu()

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return all weights on the CPU, the trained ones by their moving average."""
        return {name: self._average.get(name, value).detach().cpu() for name, value in self.net.state_dict().items()}

    def swap_in_average(self) -> None:
        """Exchange the weights and their moving average; a second call undoes the first."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                held = parameter.detach().clone()
                parameter.copy_(self._average[name])
                self._average[name] = held

    def parts(self) -> dict[str, Any]:
        """Return everything that changes: state dicts, and the states of the random generators."""
        return {
            "model": self.net.state_dict(),
            "ema": self._average,
            "optimizer": self._optimizer.state_dict(),
            "in_bf16": self._in_bf16,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            **(self._adversary.parts() if self._adversary else {}),
        }

    def restore(self, parts: dict[str, Any]) -> None:
        """Go back to what `parts` gave."""
        self.net.load_state_dict(parts["model"])
        for name, value in self._average.items():
            value.copy_(parts["ema"][name])
        self._optimizer.load_state_dict(parts["optimizer"])
        if self.config.train.precision == "auto":
            self._in_bf16 = parts.get("in_bf16")  # as the run was begun, without measuring again
        torch.set_rng_state(parts["random"])
        if self.device.type == "cuda" and parts["random_cuda"] is not None:
            torch.cuda.set_rng_state(parts["random_cuda"])
        if self._adversary is not None:
            self._adversary.restore(parts)

    def _on_device(self, batch: Sample) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return LQ frames, their clean form, the truth, and what the output should be, all in [0, 1]."""
        moved = {name: _unit(value.to(self.device, non_blocking=True)) for name, value in batch.items()}
        truth = moved.get("truth")
        return moved["lq"], moved["clean"], truth, moved.get("sharp", truth)

    def _autocast(self) -> torch.autocast:
        if self._in_bf16 is None:
            self._in_bf16 = self._processes.any(self._chooses_bf16())  # the same for all processes
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16)

    def _chooses_bf16(self) -> bool:
        if self.config.train.precision != "auto":
            return self.config.train.precision == "bf16"
        candidates = [
            candidate
            for candidate in candidates_for(self.device)
            if candidate.precision in ("fp32", "bf16") and candidate.convolutions == "direct"
        ]
        speeds = speeds_of(candidates, self.device, self.net.basicvsr.mid_channels)
        return ranked(candidates, speeds)[0].precision == "bf16"

    @torch.no_grad()
    def _update_average(self, iteration: int) -> None:
        # The first weights are random: they are forgotten sooner than a fixed decay would.
        decay = min(self.config.train.ema, (1 + iteration) / (10 + iteration))
        torch._foreach_lerp_(list(self._average.values()), list(self._trained.values()), 1 - decay)


def learning_rate(config: TrainConfig, iteration: int, progress: float) -> float:
    """Return the learning rate of an iteration, `progress` (0 to 1) of the run being done."""
    rate = config.learning_rate
    if iteration < config.warm_up:
        rate *= (iteration + 1) / config.warm_up
    if config.schedule == "cosine":
        rate *= _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return rate


def _unit(frames: Tensor) -> Tensor:
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames
