"""The convolutional parts that the networks are composed of."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vsr_pipeline.models.bands import in_bands


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Build a 3x3 convolution that keeps height and width."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    """conv - ReLU - conv, added to the input; (N, C, H, W) to (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + conv2(relu(conv1(x)))."""
        return self.conv2(F.relu(self.conv1(x), inplace=True)).add_(x)  # type: ignore[no-any-return]


class ResidualBlocks(nn.Module):
    """conv - LeakyReLU(0.1) - residual blocks; (N, in, H, W) to (N, out, H, W).

    Attributes:
        band_rows: compute in bands of at most so many rows; None: whole frames. The result is the same.
    """

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.band_rows: int | None = None
        self._reach = 1 + 2 * num_blocks
        self.main = nn.Sequential(
            conv3x3(in_channels, out_channels),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Sequential(*(ResidualBlock(out_channels) for _ in range(num_blocks))),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of `x`."""
        return in_bands(self.main, (x,), rows=self.band_rows, halo=self._reach)


class PixelShuffleUpsample(nn.Module):
    """conv - pixel shuffle by 2; (N, in, H, W) to (N, out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample_conv = conv3x3(in_channels, out_channels * 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of twice the height and width."""
        return F.pixel_shuffle(self.upsample_conv(x), 2)
