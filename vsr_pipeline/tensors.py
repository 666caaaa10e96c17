"""Between frames (NumPy, H x W x 3, 8 or 16 bits) and tensors (float32, 1 x 3 x H x W, 0 to 1)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.errors import NotFiniteError, OutOfMemoryError
from vsr_pipeline.media.frames import Pixels

_TORCH_DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16}


def to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """Return a frame as (1, 3, H, W), RGB in [0, 1]; it crosses the bus as integers."""
    frame_HW3 = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    return frame_HW3.permute(2, 0, 1)[None].float() / np.iinfo(pixels.dtype).max


def check_finite(frames: Tensor) -> None:
    """Refuse what a network gave.

    Raises:
        NotFiniteError: there is a NaN or an infinity in it.
    """
    if not torch.isfinite(frames).all():
        raise NotFiniteError("the network gave NaN or infinity: run with --precision fp32, or check the checkpoint")


def to_pixels(frame_13HW: Tensor, dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> Pixels:
    """Clip and round a frame to integers (H, W, 3).

    Raises:
        NotFiniteError: there is a NaN or an infinity in it, which would be a black hole in the picture.
    """
    check_finite(frame_13HW)
    scaled = (frame_13HW[0].clamp(0, 1) * np.iinfo(dtype).max).round()
    return scaled.to(_TORCH_DTYPES[dtype]).permute(1, 2, 0).contiguous().cpu().numpy()


@contextmanager
def out_of_memory_as_error() -> Iterator[None]:
    """Turn PyTorch's ways to say that memory is used up into an `OutOfMemoryError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"the GPU has too little memory; {_REMEDY}") from error
    except RuntimeError as error:
        # The CPU's allocator, MPS, and the libraries under CUDA have no exception of their own.
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise OutOfMemoryError(f"there is too little memory; {_REMEDY}") from error


_SIGNS = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")
_REMEDY = "use a smaller --max-seq-len (the frames that are held at once)"
