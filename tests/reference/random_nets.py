"""Networks with drawn weights, ours and the official one's equal by name."""

import numpy as np
import torch

from tests.golden.make_reference import fill_parameters, make_clip
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet


def filled(net, *, std=0.7):
    """Give a network of ours the weights that the goldens' generator draws from the parameters' names."""
    drawn = fill_parameters({name: value.numpy() for name, value in net.state_dict().items()}, std)
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in drawn.items()})
    return net.eval()


def small_realbasicvsr():
    return filled(RealBasicVSRNet(mid_channels=8, num_propagation_blocks=2, num_cleaning_blocks=1))


def small_basicvsr():
    return filled(BasicVSRNet(mid_channels=8, num_blocks=3))


def save_official_checkpoint(net, path):
    """Write a checkpoint file with the names that the published RealBasicVSR files have."""
    state = {f"generator.{name}": value for name, value in net.state_dict().items()}
    torch.save({"meta": {}, "state_dict": state}, path)
    return path


def clip_N(frames, height, width, *, seed=7):  # noqa: N802
    """A moving clip (1, T, 3, H, W)."""
    return torch.from_numpy(make_clip(frames, height, width, seed))[None]
