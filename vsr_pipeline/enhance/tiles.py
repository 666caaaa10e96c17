"""Frames through a network of PyTorch tile by tile: less memory at a time. `tiling` says how they are cut."""

from math import ceil

import torch
from torch import Tensor

from vsr_pipeline.enhance.tiling import Span, Tiling
from vsr_pipeline.enhance.transfer import to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.frame import FrameNet, pad_to_multiple


def tiles_for(tiling: Tiling, needed_HW: Tensor | None) -> list[tuple[Span, Span]]:
    """Return the tiles, as rows and columns, that have a part in places of a frame.

    Args:
        tiling: of the frame.
        needed_HW: the places, bool, in LQ pixels; None: all.
    """
    both = [(row, column) for row in tiling.rows for column in tiling.columns]
    if needed_HW is None:
        return both
    reach = 0 if tiling.is_exact else ceil(tiling.overlap / 2)

    def part(span: Span) -> slice:
        return slice(max(0, span.core_start - reach), span.core_stop + reach)

    return [(row, column) for row, column in both if needed_HW[part(row), part(column)].any()]


@torch.inference_mode()
def upscale_pixels(net: FrameNet, pixels: Pixels, device: torch.device, tiling: Tiling) -> Tensor:
    """Enlarge a frame (H, W, 3) tile by tile on a device; see `upscale_in_tiles`."""
    frame = to_tensor(pixels, device).contiguous(memory_format=torch.channels_last)
    return upscale_in_tiles(net, frame, tiling)


@torch.inference_mode()
def upscale_in_tiles(net: FrameNet, frame_1CHW: Tensor, tiling: Tiling, *, needed_HW: Tensor | None = None) -> Tensor:
    """Enlarge a frame tile by tile.

    Args:
        net: the network; the tiling is planned with its receptive radius and `multiple_of`.
        frame_1CHW: the frame, float32.
        tiling: of a frame of this size.
        needed_HW: which LQ pixels are to be enlarged, at least one of them; what else is in the result has no meaning.
            None: all.

    Returns:
        (1, C, scale * H, scale * W), float32, not clipped.
    """
    if len(tiling.rows) == len(tiling.columns) == 1:
        return net(frame_1CHW)
    height, width = frame_1CHW.shape[-2:]
    frame = pad_to_multiple(frame_1CHW, net.multiple_of)
    if frame.shape[-2:] != (tiling.height, tiling.width):
        raise ValueError(f"tiles for {tiling.width}x{tiling.height} in a frame of {width}x{height}")
    scale = net.scale
    whole: Tensor | None = None
    row_shares, column_shares = (
        dict(zip(spans, _shares(spans, tiling.overlap, scale, frame.device), strict=True))
        for spans in (tiling.rows, tiling.columns)
    )
    for row, column in tiles_for(tiling, needed_HW):
        tile = net(frame[..., row.start : row.stop, column.start : column.stop].contiguous())
        if whole is None:
            whole = tile.new_zeros((*tile.shape[:2], scale * tiling.height, scale * tiling.width))
        if tiling.is_exact:
            _core(whole, row, column, scale, (0, 0)).copy_(_core(tile, row, column, scale, (row.start, column.start)))
        else:
            target = whole[..., scale * row.start : scale * row.stop, scale * column.start : scale * column.stop]
            target.add_(tile.mul_(row_shares[row][:, None]).mul_(column_shares[column]))
        del tile  # not to be held beside the next one
    assert whole is not None
    return whole[..., : scale * height, : scale * width]


def _core(picture: Tensor, row: Span, column: Span, scale: int, origin: tuple[int, int]) -> Tensor:
    """Return a tile's core in a picture whose corner lies at `origin`, in LQ pixels."""
    top, left = origin
    return picture[
        ...,
        scale * (row.core_start - top) : scale * (row.core_stop - top),
        scale * (column.core_start - left) : scale * (column.core_stop - left),
    ]


def _shares(spans: tuple[Span, ...], overlap: int, scale: int, device: torch.device) -> list[Tensor]:
    """Return how much each tile counts at each HR pixel of its span; at every place, all tiles together count 1.

    Around a seam they cross over within half of the overlap, so that the outer half, which the network sees worst,
    counts nothing.
    """
    half = overlap / 2
    length = spans[-1].stop
    places = (torch.arange(scale * length, dtype=torch.float64) + 0.5) / scale
    weights = torch.zeros((len(spans), scale * length), dtype=torch.float64)
    for n, span in enumerate(spans):
        rising = (places - span.core_start) / (2 * half) + 0.5 if n > 0 else torch.ones_like(places)
        falling = (span.core_stop - places) / (2 * half) + 0.5 if n < len(spans) - 1 else torch.ones_like(places)
        inside = (places > span.start) & (places < span.stop)
        weights[n] = _smooth(rising) * _smooth(falling) * inside
    weights /= weights.sum(dim=0)
    return [weights[n, scale * span.start : scale * span.stop].float().to(device) for n, span in enumerate(spans)]


def _smooth(x: Tensor) -> Tensor:
    """Map 0 to 1 onto 0 to 1 without corners (smoothstep)."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)
