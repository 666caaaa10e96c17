"""HR frames become YUV on the device that computed them: half the bytes cross the bus, and no CPU converts.

With the matrix and the chroma filter of `vsr_pipeline.media.write.planes.RgbToYuv`, which is the reference, on the CPU.
Samples differ by at most 1, because colours are not rounded to integers before.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vsr_pipeline.media.write.conversion import YuvConversion


def converts_on(device: torch.device) -> bool:
    """Whether frames of a device become YUV there. On a CPU, the writer is as fast, and its thread is free."""
    return device.type != "cpu"


def to_planes(frame_13HW: Tensor, conversion: YuvConversion) -> Iterator[Tensor]:
    """Yield Y, Cb and Cr of a frame, (height, width) float32, rounded and clipped, each when it is asked for.

    Args:
        frame_13HW: RGB, 1.0 is white, not clipped.
        conversion: to what. Where whole chroma samples need it, the last row or column is repeated.
    """
    height, width = frame_13HW.shape[-2:]
    coded_width, coded_height = conversion.coded_size(width, height)
    rgb_13HW = frame_13HW.clamp(0, 1)
    if (coded_width, coded_height) != (width, height):
        rgb_13HW = F.pad(rgb_13HW, (0, coded_width - width, 0, coded_height - height), mode="replicate")
    for index, row in enumerate(conversion.affine.tolist()):
        yield _plane(rgb_13HW, row, conversion, is_chroma=index > 0)


def _plane(rgb_13HW: Tensor, row: Sequence[float], conversion: YuvConversion, *, is_chroma: bool) -> Tensor:
    red, green, blue, zero = row
    plane_11HW = rgb_13HW[:, :1] * red
    plane_11HW.add_(rgb_13HW[:, 1:2], alpha=green).add_(rgb_13HW[:, 2:], alpha=blue).add_(zero)
    if is_chroma:
        plane_11HW = _at_chroma_sites(plane_11HW, conversion)
    return plane_11HW[0, 0].round_().clamp_(0, conversion.peak)


def _at_chroma_sites(plane_11HW: Tensor, conversion: YuvConversion) -> Tensor:
    """Filter a chroma plane of full size along both axes, at the places of its samples alone."""
    if conversion.step_x == 1:
        return plane_11HW
    padded = F.pad(plane_11HW, (1, 1, 0, 0), mode="replicate")
    filtered = _filtered(padded, 3, conversion.filter_x, conversion.step_x)
    if conversion.step_y == 1:
        return filtered
    padded = F.pad(filtered, (0, 0, 1, 1), mode="replicate")
    return _filtered(padded, 2, conversion.filter_y, conversion.step_y)


def _filtered(padded: Tensor, axis: int, taps_and_first: tuple[tuple[float, ...], int], step: int) -> Tensor:
    taps, first = taps_and_first
    count = (padded.shape[axis] - 2) // step
    total: Tensor | None = None
    for offset, tap in enumerate(taps):
        if tap == 0:
            continue
        start = first + offset
        places = [slice(None)] * 4
        places[axis] = slice(start, start + step * (count - 1) + 1, step)
        part = padded[tuple(places)]
        total = part * tap if total is None else total.add_(part, alpha=tap)
    assert total is not None
    return total
