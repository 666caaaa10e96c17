"""How much RealBasicVSR changes of what the input shows: all of it in damaged footage, less in clean footage.

Cleaning takes noise and blocks for damage, and so it takes some fine detail of footage that has neither. Less of the
module's residue alone does not bring that back: the network behind it was trained on cleaned frames, and smooths, too.
So HR frames are corrected where, made as small as the input, they differ from it: back-projection (Irani and Peleg,
1991).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.transfer import to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.timeline import Decision

_PASSES = "cleaning_passes"
_SHARE = "cleaning"
_TIMES = ("", "once", "twice", "three times")
_CORRECTIONS = 2
"""After the second one, less than a tenth of a decibel is to be gained."""


def cleaned(passes: int, share: float | None = None) -> Decision:
    """Return the decision to clean a shot so often, and by which share; None: by what the settings say."""
    values: dict[str, str | int | float] = {_PASSES: passes}
    if share is None:
        return Decision(values, f"cleaned {_TIMES[passes]}" if passes else "")
    how = f"cleaned {_TIMES[passes]}" + (f" at {share:.0%}, for it is little damaged" if share < 1 else "")
    return Decision(values | {_SHARE: share}, how if share else "not cleaned, for it is not damaged")


def passes_of(decision: Decision) -> int:
    """Return how often a shot is cleaned."""
    return int(decision.values[_PASSES])


def measured_share_of(decision: Decision) -> float | None:
    """Return by which share, 0 to 1, a shot is cleaned since it was measured to be so damaged; None: it was not."""
    share = decision.values.get(_SHARE)
    return None if share is None else float(share)


def cleaned_in_part(cleaner: RealBasicVSRNet, share: float, frames_NCHW: Tensor, passes: int) -> Tensor:
    """Return frames (N, 3, H, W) with so much of what cleaning changes: 0 is nothing, 1 is all."""
    if share == 0:
        return frames_NCHW
    cleaned = cleaner.clean(frames_NCHW, passes)
    return cleaned if share == 1 else torch.lerp(frames_NCHW, cleaned, share)


def with_input_given_back(
    enlarge: Callable[[Iterable[Pixels]], Iterator[Tensor]], frames: Iterable[Pixels], warm_up: int, share: float
) -> Iterator[Tensor]:
    """Yield the HR frames that `enlarge` makes, with a share of what they lack of the LQ frames.

    Args:
        enlarge: makes an HR frame (1, 3, sH, sW) of each LQ frame, in order.
        frames: LQ frames (H, W, 3).
        warm_up: how many of them, at the front, have no HR frame.
        share: 0 is nothing, 1 is all.

    Raises:
        ResourceError: the memory does not suffice.
    """
    waiting: deque[Pixels] = deque()

    def noted() -> Iterator[Pixels]:
        for index, pixels in enumerate(frames):
            if index >= warm_up:
                waiting.append(pixels)
            yield pixels

    for frame in enlarge(noted()):
        with torch.inference_mode(), out_of_memory_as_error():
            whole = given_back(frame, to_tensor(waiting.popleft(), frame.device), share)
        del frame
        yield whole
        del whole  # before the next one is made


def given_back(hr: Tensor, lq: Tensor, share: float) -> Tensor:
    """Return an HR frame (1, 3, sH, sW) with a share of what it lacks of the LQ frame (1, 3, H, W); both RGB."""
    consistent = hr
    for _ in range(_CORRECTIONS):
        reduced = F.interpolate(consistent, lq.shape[-2:], mode="bicubic", align_corners=False, antialias=True)
        lacking = F.interpolate(lq - reduced, hr.shape[-2:], mode="bicubic", align_corners=False)
        consistent = consistent + lacking
    return torch.lerp(hr, consistent, share)
