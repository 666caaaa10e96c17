"""The features of VGG19 that the perceptual loss compares (Simonyan and Zisserman, 2015)."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

FEATURES = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
"""Which layers are compared, in torchvision's numbering, each before its ReLU, and what they weigh."""

# Output channels of the convolutions; a pooling halves the size between the groups.
_GROUPS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class VGG19Features(nn.Module):
    """Frames (N, 3, H, W), RGB in [0, 1], to a list of features; parameters are called as in torchvision's `features`.

    H and W must be at least 16.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        self._poolings = set()
        index, inputs = 0, 3
        for group in _GROUPS:
            for outputs in group:
                self.convolutions[str(index)] = nn.Conv2d(inputs, outputs, 3, padding=1)
                inputs = outputs
                index += 2  # its ReLU has a number, too
            self._poolings.add(index)
            index += 1
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames_NCHW: Tensor) -> list[Tensor]:
        """Return the features of the layers in `FEATURES`, in order."""
        x = (frames_NCHW - self.mean) / self.std
        features = []
        for name, convolution in self.convolutions.items():
            index = int(name)
            if index - 1 in self._poolings:
                x = F.max_pool2d(x, 2)
            x = convolution(x)
            if index in FEATURES:
                features.append(x)
            x = F.relu(x)
        return features
