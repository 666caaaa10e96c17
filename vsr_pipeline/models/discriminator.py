"""The discriminator of the adversarial stage: a U-Net that judges every pixel (Wang et al., Real-ESRGAN, 2021)."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class UNetDiscriminator(nn.Module):
    """Frames (N, 3, H, W), H and W multiples of 8, to logits (N, 1, H, W): how real each pixel looks.

    Args:
        channels: of the features in full size; halving the size doubles them, three times.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(channels * 2**n, channels * 2 ** (n + 1), 4, stride=2, padding=1, bias=False))
            for n in range(3)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(channels * 2 ** (n + 1), channels * 2**n, 3, padding=1, bias=False))
            for n in reversed(range(3))
        )
        self.refine = nn.ModuleList(
            spectral_norm(nn.Conv2d(channels, channels, 3, padding=1, bias=False)) for _ in range(2)
        )
        self.last = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Return a logit for every pixel."""
        x = F.leaky_relu(self.first(frames_NCHW), 0.2)
        skips = []
        for conv in self.down:
            skips.append(x)
            x = F.leaky_relu(conv(x), 0.2)
        for conv in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(conv(x), 0.2) + skips.pop()
        for conv in self.refine:
            x = F.leaky_relu(conv(x), 0.2)
        return self.last(x)  # type: ignore[no-any-return]
