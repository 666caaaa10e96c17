"""Large frames in horizontal bands: less memory at a time, and the same result but for rounding."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def in_bands(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], *, rows: int | None, halo: int, scale: int = 1
) -> Tensor:
    """Apply a stack of convolutions to bands of its inputs, and put the bands of its output together.

    A band is computed together with `halo` rows above and below it, which are cut off again. With a halo that is not
    smaller than the reach of the convolutions, the result is that of whole frames: there are no seams to blend. (To
    within rounding: for another height, a library may sum in another order.)

    Args:
        function: maps (N, C, h, W), for each of the inputs, to (N, C', scale * h, W').
        inputs: (N, C, H, W) each.
        rows: largest height of a band of the inputs, without halo; None: whole frames.
        halo: how many rows up and down one row of the output can depend on, in rows of the inputs.
        scale: by how much the output is higher than the inputs.

    Returns:
        (N, C', scale * H, W').
    """
    height = inputs[0].shape[-2]
    if rows is None or height <= rows:
        return function(*inputs)
    count = -(-height // rows)
    whole: Tensor | None = None
    for k in range(count):
        start, stop = height * k // count, height * (k + 1) // count
        top, bottom = max(0, start - halo), min(height, stop + halo)
        band = function(*(x[..., top:bottom, :] for x in inputs))
        if whole is None:
            batch, channels, _, width = band.shape
            whole = torch.empty(
                (batch, channels, scale * height, width),
                dtype=band.dtype,
                device=band.device,
                memory_format=torch.channels_last,
            )
        whole[..., scale * start : scale * stop, :] = band[..., scale * (start - top) : scale * (stop - top), :]
        del band  # not to be held beside the next one
    assert whole is not None
    return whole
