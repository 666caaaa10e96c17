"""How much memory a run takes besides the model, how much may be taken, and which variant fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vsr_pipeline.enhance.spec import Variant
from vsr_pipeline.errors import OutOfMemoryError
from vsr_pipeline.runtime.memory import available_memory_bytes, resident_memory_bytes
from vsr_pipeline.timeline import ClipSize

if TYPE_CHECKING:
    import torch

_RGB = 3
# PyTorch, ffmpeg's libraries and the weights.
_PROCESS_BYTES = 350 * 1024**2
# RGB frames between threads, and for each HR pixel what x264 takes as it looks ahead: measured as 121 bytes after
# 10 frames of 1280x720, 132 after 80.
_QUEUED_FRAMES = 7
_ENCODER_BYTES = 132
_ENCODER_BYTES_OF_A_FRAME = 12
# Of the memory that is free. The rest is for what an allocator cannot use, and for other programs.
_SHARE_OF_FREE = 0.9
_SIGNS = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")
_REMEDY = "give --memory-limit less than there is, or a smaller --max-seq-len (the frames that are held at once)"


def around_model_bytes(clip: ClipSize, scale: int) -> int:
    """Return the main memory of everything but the model: the process, frames between threads, the encoder."""
    queue = _RGB * min(_QUEUED_FRAMES, clip.frame_count)
    encoder = min(_ENCODER_BYTES, _ENCODER_BYTES_OF_A_FRAME * clip.frame_count)
    return _PROCESS_BYTES + clip.output_pixels(scale) * (queue + encoder) * clip.bytes_per_value


def second_encoder_bytes(clip: ClipSize, scale: int, needed: int, allowed: int | None) -> int | None:
    """Return the main memory that it takes to begin the next file while the last frames of one are encoded.

    Args:
        clip: whose frames.
        scale: of the model.
        needed: what a run takes without that.
        allowed: how much it may take; None: unknown, and taken for enough.

    Returns:
        Bytes; None where they are not allowed: then the files are made in turn.
    """
    all_frames = _ENCODER_BYTES_OF_A_FRAME * clip.frame_count
    second = min(2 * _ENCODER_BYTES, all_frames) - min(_ENCODER_BYTES, all_frames)
    count = clip.output_pixels(scale) * second * clip.bytes_per_value
    return count if allowed is None or needed + count <= allowed else None


def allowed_bytes(limit_bytes: int | None, device: torch.device | None) -> int | None:
    """Return how much memory of a device may be taken: the limit, else nine tenths of what is free; None: unknown.

    What this process already has in use of it (the weights) counts as free: it is in the variants' needs. What it only
    keeps, for reuse or as CUDA graphs, counts as free only when the device gets it back.
    """
    if limit_bytes is not None:
        return limit_bytes
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
        return round(_SHARE_OF_FREE * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_allocated(device)))
    free = available_memory_bytes()
    return None if free is None else round(_SHARE_OF_FREE * (free + resident_memory_bytes()))


@contextmanager
def no_more_than(limit_bytes: int | None, device: torch.device | None) -> Iterator[None]:
    """Let PyTorch take no more of a GPU's memory than a limit: where more is asked for, memory has run out.

    What the driver itself takes for a process is not counted. What was set before is set again afterwards.
    """
    if limit_bytes is None or device is None or device.type != "cuda":
        yield
        return
    import torch

    before = torch.cuda.get_per_process_memory_fraction(device)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(before, limit_bytes / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)


def give_back(device: torch.device | None) -> None:
    """Give back what PyTorch only keeps of a GPU's memory."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


@contextmanager
def out_of_memory_as_error() -> Iterator[None]:
    """Turn the ways to say that memory is used up into an `OutOfMemoryError`."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(f"there is too little memory; {_REMEDY}") from error
    except RuntimeError as error:
        if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, which need not be loaded
            raise OutOfMemoryError(f"the GPU has too little memory; {_REMEDY}") from error
        # The CPU's allocator, MPS, and the libraries under CUDA have no exception of their own.
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise OutOfMemoryError(f"there is too little memory; {_REMEDY}") from error


def same_memory(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return the variants that take the memory which the first one takes."""
    return tuple(variant for variant in variants if variant.is_on_gpu == variants[0].is_on_gpu)


def first_that_fits(needs: Sequence[int], allowed: int | None) -> int | None:
    """Return the place of the first need of at most `allowed` bytes; None: none fits. Unknown is taken for enough."""
    return next((level for level, needed in enumerate(needs) if allowed is None or needed <= allowed), None)


def amount(count: int) -> str:
    """Write a number of bytes for people, in units of 1000, as a limit is given."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
