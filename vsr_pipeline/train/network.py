"""The network that is trained: where its weights come from, and how it runs over a batch."""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from vsr_pipeline.checkpoints import manifest as weights
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.errors import ConfigError
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.train.config import ModelConfig, RunConfig

Sample = dict[str, Tensor]
"""Parts of a sequence, or of a batch of them with N in front.

lq (T, 3, h, w) and truth (T, 3, 4h, 4w) in uint8; clean (T, 3, h, w), the truth at a quarter of its size, float32;
sharp, what the output should be where that is another thing than the truth, uint8, of all frames or of some in the
middle. Where no loss needs them there is neither truth nor sharp.
"""

_RESIDUAL_SCALE = 0.1
"""Factor on the initial weights of residual blocks: deep stacks of them begin near the identity."""


def middle(length: int, count: int) -> slice:
    """Return where `count` frames in the middle of `length` frames lie."""
    start = (length - count) // 2
    return slice(start, start + count)


def build_network(config: ModelConfig) -> RealBasicVSRNet:
    """Return a network to be trained: what `init` gives, and random weights where it gives nothing.

    A BasicVSR goes into `basicvsr.*`; a cleaning module that is new changes nothing at first.

    Raises:
        ConfigError: `init`, `flow_from` or `cleaning_from` has other sizes than the settings.
        ModelError: one of them cannot be had.
    """
    start = _load(config.init) if config.init else None
    if isinstance(start, RealBasicVSRNet):
        return start
    if start is not None and "mid_channels" in config.model_fields_set and config.mid_channels != start.mid_channels:
        raise ConfigError(f"model.mid_channels {config.mid_channels}: {config.init} has {start.mid_channels}")
    net = RealBasicVSRNet(
        mid_channels=start.mid_channels if start else config.mid_channels,
        num_propagation_blocks=start.num_blocks if start else config.propagation_blocks,
        num_cleaning_blocks=config.cleaning_blocks,
        cleaning_channels=config.cleaning_channels,
        reconstruction_channels=config.reconstruction_channels,
        flow_levels=config.flow_levels,
    )
    _scale_residual_blocks(net)
    last = net.image_cleaning[1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    if start is not None:
        net.basicvsr.load_state_dict(start.state_dict())
    elif config.flow_from:
        donor = _load(config.flow_from)
        source = donor.basicvsr if isinstance(donor, RealBasicVSRNet) else donor
        _take(net.basicvsr.spynet, source.spynet, f"the {config.flow_levels} flow levels of {config.flow_from}")
    if config.cleaning_from:
        donor = _load(config.cleaning_from)
        if not isinstance(donor, RealBasicVSRNet):
            raise ConfigError(f"model.cleaning_from: {config.cleaning_from} has no cleaning module")
        what = f"{config.cleaning_blocks} cleaning blocks of {net.cleaning_channels} channels of {config.cleaning_from}"
        _take(net.image_cleaning, donor.image_cleaning, what)
    return net


def _take(part: nn.Module, donor: nn.Module, what: str) -> None:
    """Copy all weights of `part` from a donor that may be deeper.

    Raises:
        ConfigError: the donor lacks some of them or has others; `what` was wanted.
    """
    weights_of_donor = donor.state_dict()
    wanted = part.state_dict()
    if any(name not in weights_of_donor or weights_of_donor[name].shape != v.shape for name, v in wanted.items()):
        raise ConfigError(f"{what}: it has no such weights")
    part.load_state_dict({name: weights_of_donor[name] for name in wanted})


def _load(name: str) -> BasicVSRNet | RealBasicVSRNet:
    """Load a model by its name in the manifest, or else a file."""
    known = {entry.name for entry in weights.load_manifest()}
    is_file = name not in known and (Path(name).suffix or Path(name).is_file())
    path = Path(name) if is_file else weights.verified_path(name)
    return net_for(load_checkpoint(path))


def _scale_residual_blocks(net: RealBasicVSRNet) -> None:
    for name, parameter in net.named_parameters():
        if ".main.2." in name:
            parameter.data.mul_(_RESIDUAL_SCALE if name.endswith("weight") else 0.0)


def parameter_groups(net: RealBasicVSRNet, config: RunConfig) -> list[dict[str, object]]:
    """Return the trained parameters, for the optimizer, each group with the `factor` of its learning rate.

    The others, SPyNet's always, are frozen.
    """
    net.requires_grad_(False)
    cleaning = list(net.image_cleaning.parameters())
    groups: list[dict[str, object]] = [{"params": cleaning, "factor": config.train.cleaning_rate}]
    if config.train.part == "all":
        rest = [p for name, p in net.basicvsr.named_parameters() if not name.startswith("spynet.")]
        groups.append({"params": rest, "factor": 1.0})
    for group in groups:
        parameters = group["params"]
        assert isinstance(parameters, list)
        for parameter in parameters:
            parameter.requires_grad_(True)
    return groups


class TrainingNet(nn.Module):
    """The network's way through a batch when training: cleaning of all frames at once, flows without gradient.

    One cleaning pass, as published (a refinement threshold of 255). Deviation: in the official code gradients reach the
    cleaning module through the flows, too; here flow is a fixed measurement on the cleaned frames, in float32.
    """

    def __init__(self, net: RealBasicVSRNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq_NTCHW: Tensor, upscale: bool) -> tuple[Tensor | None, Tensor]:
        """Return the HR frames (N, T, 3, 4H, 4W), if wanted, and the cleaned ones (N, T, 3, H, W), not clipped."""
        flat = lq_NTCHW.flatten(0, 1)
        cleaned = (flat + self.net.residue(flat)).view_as(lq_NTCHW)
        if not upscale:
            return None, cleaned
        basicvsr = self.net.basicvsr
        return basicvsr.propagate(cleaned.unbind(1), *_flows(basicvsr, cleaned.detach())), cleaned


@torch.no_grad()
def _flows(net: BasicVSRNet, frames_NTCHW: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the flows to the next and to the previous frames, T - 1 each, computed as one batch."""
    count, length = frames_NTCHW.shape[:2]
    if length == 1:
        return (), ()
    pairs = list(pairwise(frames_NTCHW.unbind(1)))
    references = torch.cat([a for a, _ in pairs] + [b for _, b in pairs])
    supports = torch.cat([b for _, b in pairs] + [a for a, _ in pairs])
    with torch.autocast(frames_NTCHW.device.type, enabled=False):
        flows = torch.split(net.compute_flow(references.float(), supports.float()), count)
    return flows[: length - 1], flows[length - 1 :]
