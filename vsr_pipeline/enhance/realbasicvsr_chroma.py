"""Blotches of colour are removed from HR frames: colour that does not follow brightness and is as weak as noise.

Codecs keep chroma at a quarter of the pixels and round it most, so noise is left in it as blotches. Around each pixel
chroma is taken for a straight line of luma, as a guided filter does (He, Sun and Tang, ECCV 2010), and of what differs
from that line only what is stronger than noise is kept, as a Wiener filter does. So colour that changes where
brightness does not, a sign in red on green, stays.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.realbasicvsr_stream import SCALE

_REACH = 6
"""LQ pixels to each side. All is measured at the size of the LQ frame: chroma has nothing finer."""
# Variances, of frames from 0 to 1. Chosen by the PSNR of chroma of spoiled clips: benchmarks/RESULTS.md.
_FLAT = 40 / 255**2
"""Of luma: where it has much less, chroma is taken for its mean."""
_NOISE = 6 / 255**2
"""Of R - Y and B - Y: where they differ by less from the line, all of the difference is noise."""


def with_chroma_cleaned(frames: Iterable[Tensor], share: float) -> Iterator[Tensor]:
    """Yield HR frames (1, 3, H, W) as `without_chroma_noise` gives them; one is held beside the one that is given.

    Raises:
        ResourceError: the memory does not suffice.
    """
    for frame in frames:
        with torch.inference_mode(), out_of_memory_as_error():
            cleaned = without_chroma_noise(frame, share)
        del frame
        yield cleaned
        del cleaned  # before the next one is made


def without_chroma_noise(hr: Tensor, share: float) -> Tensor:
    """Return HR frames (N, 3, H, W), RGB, white at 1, without a share, 0 to 1, of the noise in chroma.

    Luma (BT.601) stays as it is. Frames may go beyond 0 and 1, before and after.
    """
    size = (-(-hr.shape[-2] // SCALE), -(-hr.shape[-1] // SCALE))
    red, green, blue = F.interpolate(hr, size, mode="area").unbind(1)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)
    chroma = torch.stack((red, blue), 1) - luma
    mean_luma, mean_chroma = _mean(luma), _mean(chroma)
    covariance = _mean(luma * chroma) - mean_luma * mean_chroma
    slope = covariance / (_mean(luma * luma) - mean_luma**2 + _FLAT)
    left_over = _mean(chroma * chroma) - mean_chroma**2 - slope * covariance
    noisy = (_NOISE / left_over.clamp_min(1e-9)).clamp_max(1)
    offset = mean_chroma - slope * mean_luma
    # The mean of what each square around a pixel would change: one with an edge of colour in it changes nothing.
    change = _mean(noisy * slope) * luma + _mean(noisy * offset) - _mean(noisy) * chroma
    of_red, of_blue = change.unbind(1)
    # So much of green that luma stays.
    of_green = -(0.299 * of_red + 0.114 * of_blue) / 0.587
    of_all = share * torch.stack((of_red, of_green, of_blue), 1)
    return F.interpolate(of_all, hr.shape[-2:], mode="bilinear", align_corners=False).add_(hr)


def _mean(planes: Tensor) -> Tensor:
    """Return the means of squares around each pixel."""
    # A CPU takes twice as long for columns as for rows.
    by_rows = _mean_of_rows(planes).transpose(-1, -2).contiguous()
    return _mean_of_rows(by_rows).transpose(-1, -2).contiguous()


def _mean_of_rows(planes: Tensor) -> Tensor:
    padded = F.pad(planes, (_REACH, _REACH, 0, 0), mode="replicate")
    return F.avg_pool2d(padded, (1, 2 * _REACH + 1), 1)
