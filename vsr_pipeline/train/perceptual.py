"""Perceptual losses: distances of what a network that knows photographs sees in frames."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from vsr_pipeline.checkpoints.efficientnet_lite0 import load_efficientnet_lite0
from vsr_pipeline.checkpoints.state_dicts import read_tensors
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.efficientnet_lite import feature_distance
from vsr_pipeline.models.vgg import FEATURES, VGG19Features
from vsr_pipeline.train.config import LossConfig


def perceptual_loss(config: LossConfig) -> nn.Module | None:
    """Return the distance of two batches of frames (N, 3, H, W) in [0, 1] that a run wants; None: it wants none.

    Raises:
        ModelError: its network's weights are missing.
    """
    if config.perceptual <= 0:
        return None
    if config.perceptual_network == "efficientnet-lite0":
        return FeatureDistance()
    assert config.perceptual_weights is not None
    return PerceptualLoss(config.perceptual_weights)


class FeatureDistance(nn.Module):
    """The distance of `vsr metrics --perceptual`, by EfficientNet-Lite0.

    Raises:
        ModelError: its package is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._network = load_efficientnet_lite0()

    def forward(self, output_NCHW: Tensor, truth_NCHW: Tensor) -> Tensor:
        """Return the mean distance of frames in [0, 1]."""
        with torch.no_grad():
            wanted = self._network(truth_NCHW)
        return feature_distance(self._network(output_NCHW), wanted).mean()


class PerceptualLoss(nn.Module):
    """Weighted L1 distance of features before their ReLUs; VGG19's weights come from a file and are not trained.

    Raises:
        ModelError: the file is missing or holds no VGG19.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.vgg = VGG19Features().requires_grad_(False).eval()
        if not path.is_file():
            raise ModelError(f"no such file of VGG19's weights: {path}; set losses.perceptual = 0 to train without")
        try:
            tensors = read_tensors(path)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
        named = {re.sub(r"^features\.", "", name): tensor.float() for name, tensor in tensors.items()}
        expected = self.vgg.convolutions.state_dict()
        wrong = [name for name, value in expected.items() if name not in named or named[name].shape != value.shape]
        if wrong:
            raise ModelError(
                f"{path} has no VGG19: {len(wrong)} of its {len(expected)} tensors are missing or of another shape "
                f"({', '.join(wrong[:3])}); torchvision's names are expected, features.0.weight and so on"
            )
        self.vgg.convolutions.load_state_dict({name: named[name] for name in expected})

    def forward(self, output_NCHW: Tensor, truth_NCHW: Tensor) -> Tensor:
        """Return the distance of frames in [0, 1]."""
        with torch.no_grad():
            wanted = self.vgg(truth_NCHW)
        found = self.vgg(output_NCHW)
        distances = [
            weight * (a.float() - b.float()).abs().mean()
            for weight, a, b in zip(FEATURES.values(), found, wanted, strict=True)
        ]
        return torch.stack(distances).sum()
