"""EfficientNet-Lite0 without its classifier, for features that two pictures are compared by (Tan and Le, 2019).

The Lite variants have ReLU6 in place of swish and no squeeze-and-excitation. Parameter names are those of the package
`efficientnet-lite-pytorch`.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# Blocks, kernel, stride of the first one, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURE_BLOCKS = (0, 2, 4, 10, 15)
"""Blocks whose outputs are compared: the last ones at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size."""
_STEM_CHANNELS = 32
_BATCH_NORM_EPSILON = 1e-3


class _SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's SAME: an odd row or column of zeros goes below or right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1:
            return super().forward(x)
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        return super().forward(F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)))


class _Block(nn.Module):
    """Inverted bottleneck: 1x1 to more channels, a convolution in each channel, 1x1 to fewer; added to its input."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self._expand_conv = _SameConv(inputs, width, 1) if expansion > 1 else None
        self._bn0 = _batch_norm(width) if expansion > 1 else None
        self._depthwise_conv = _SameConv(width, width, kernel, stride=stride, groups=width)
        self._bn1 = _batch_norm(width)
        self._project_conv = _SameConv(width, outputs, 1)
        self._bn2 = _batch_norm(outputs)
        self._adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x
        if self._expand_conv is not None and self._bn0 is not None:
            wide = F.relu6(self._bn0(self._expand_conv(x)), inplace=True)
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)), inplace=True)
        narrow: Tensor = self._bn2(self._project_conv(wide))
        return x + narrow if self._adds_input else narrow


class EfficientNetLite0Features(nn.Module):
    """Frames (N, 3, H, W), RGB in [0, 1] and of any size, to five features (N, C, H / 2^k, W / 2^k), k from 1 to 5.

    It is used in evaluation mode, as it was published; gradients go through it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, _STEM_CHANNELS, 3, stride=2)
        self._bn0 = _batch_norm(_STEM_CHANNELS)
        blocks, inputs = [], _STEM_CHANNELS
        for count, kernel, first_stride, expansion, outputs in _STAGES:
            for number in range(count):
                stride = 1 if number else first_stride
                blocks.append(_Block(inputs, outputs, kernel=kernel, stride=stride, expansion=expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)

    def forward(self, frames_NCHW: Tensor) -> list[Tensor]:
        """Return the outputs of `FEATURE_BLOCKS`, in order."""
        # 127 and 128 of 255: what the network was trained with.
        x = (frames_NCHW * 255 - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in FEATURE_BLOCKS:
                features.append(x)
        return features


def feature_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Return how far two pictures (or batches) are by their features: (N,), from 0 to 4.

    As LPIPS does it (Zhang et al., CVPR 2018, equation 1), but every channel counts alike, since no weights of channels
    were learnt from votes: the vector of channels at each place is brought to length 1; squared differences are
    summed over channels and averaged over places and layers.
    """
    layers = [
        (F.normalize(x, dim=1, eps=1e-6) - F.normalize(y, dim=1, eps=1e-6)).square().sum(1).mean((1, 2))
        for x, y in zip(a, b, strict=True)
    ]
    return torch.stack(layers).mean(0)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BATCH_NORM_EPSILON)
