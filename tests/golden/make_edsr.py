"""Reference outputs of mmedit 0.16.1's EDSR, with weights drawn from the parameters' names.

Made in the environment of `make reference`, by `make golden`; or, where mmedit can be imported as it is:

    python -m tests.golden.make_edsr tests/golden/edsr_mmedit_0.16.1.npz

Stored for each case: float32 (3, scale * H, scale * W), RGB, not clipped.
"""

import sys

import numpy as np
import torch

from tests.golden.make_reference import fill_parameters, make_clip

STD = 0.7
CASES = {
    "baseline_x4": {"upscale_factor": 4, "mid_channels": 64, "num_blocks": 16, "res_scale": 1},
    "baseline_x2": {"upscale_factor": 2, "mid_channels": 64, "num_blocks": 16, "res_scale": 1},
    "baseline_x3": {"upscale_factor": 3, "mid_channels": 64, "num_blocks": 16, "res_scale": 1},
    "large_x2": {"upscale_factor": 2, "mid_channels": 256, "num_blocks": 32, "res_scale": 0.1},
}
"""Arguments of mmedit's class."""


def frame():
    """Return the input (1, 3, H, W)."""
    return torch.from_numpy(make_clip(1, 12, 15, 21))


def drawn(net):
    """Return the weights of the golden for a network with mmedit's names."""
    filled = fill_parameters({name: value.numpy() for name, value in net.state_dict().items()}, STD)
    return {name: torch.from_numpy(np.array(value)) for name, value in filled.items()}


@torch.inference_mode()
def run(name):
    """Return the official output of a case."""
    from mmedit.models.backbones.sr_backbones.edsr import EDSR

    net = EDSR(in_channels=3, out_channels=3, **CASES[name]).eval()
    net.load_state_dict(drawn(net))
    return net(frame())[0].numpy()


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **{name: run(name) for name in CASES})
