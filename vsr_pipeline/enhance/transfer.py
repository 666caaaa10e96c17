"""Between frames (NumPy, H x W x 3, 8 or 16 bits) and tensors (float32, 1 x 3 x H x W, 0 to 1)."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.errors import NotFiniteError, OutOfMemoryError
from vsr_pipeline.media.images import Pixels

DOWNLOADS = 2
"""On a GPU: HR frames that are on their way from it while the next ones are computed."""


def to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """Return a frame as (1, 3, H, W), RGB in [0, 1]; it crosses the bus as integers."""
    is_deep = pixels.dtype == np.uint16
    frame_HW3 = torch.from_numpy(np.ascontiguousarray(pixels).view(np.int16 if is_deep else np.uint8))
    if device.type == "cuda":
        # From pinned memory, so that nobody waits for the copy.
        frame_HW3 = frame_HW3.pin_memory()
    values_13HW = frame_HW3.to(device, non_blocking=True).permute(2, 0, 1)[None]
    if is_deep:
        # GPUs have hardly any operation for 16 bits without a sign: they cross with one, and lose it again there.
        values_13HW = values_13HW.to(torch.int32).bitwise_and_(0xFFFF)
    return values_13HW.float() / np.iinfo(pixels.dtype).max


def check_finite(frames: Tensor) -> None:
    """Refuse what a network gave.

    Raises:
        NotFiniteError: there is a NaN or an infinity in it.
    """
    _refuse_unless(torch.isfinite(frames).all())


def _refuse_unless(is_finite: Tensor) -> None:
    if not is_finite:
        raise NotFiniteError("the network gave NaN or infinity: run with --precision fp32, or check the checkpoint")


def to_pixels(frame_13HW: Tensor, dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> Pixels:
    """Clip and round a frame to integers (H, W, 3).

    Raises:
        NotFiniteError: there is a NaN or an infinity in it, which would be a black hole in the picture.
    """
    return Download(frame_13HW, dtype).pixels()


class Download:
    """A frame on its way from a device: clipped and rounded there, so that it crosses the bus as integers.

    On CUDA it is copied on a stream of its own, into pinned memory, while the next frames are computed.

    Args:
        frame_13HW: RGB, float32.
        dtype: of the integers, over whose range [0, 1] is stretched.
        stream: what copies; None: wait for it at once.
    """

    def __init__(
        self,
        frame_13HW: Tensor,
        dtype: np.dtype[np.uint8] | np.dtype[np.uint16],
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        self._dtype = dtype
        self._finite = torch.isfinite(frame_13HW).all()
        scaled = frame_13HW[0].clamp(0, 1).mul_(np.iinfo(dtype).max).round_()
        # 16 bits cross with a sign, see `to_tensor`: what is above its range is cut to its lowest bits.
        integers = scaled.to(torch.uint8) if dtype == np.uint8 else scaled.to(torch.int32).to(torch.int16)
        self._pixels_HW3 = integers.permute(1, 2, 0).contiguous()
        self._arrival: torch.cuda.Event | None = None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(frame_13HW.device))
            with torch.cuda.stream(stream):
                self._finite = _pinned_copy(self._finite, stream)
                self._pixels_HW3 = _pinned_copy(self._pixels_HW3, stream)
                self._arrival = stream.record_event()

    def pixels(self) -> Pixels:
        """Wait until the frame is here, and return it (H, W, 3).

        Raises:
            NotFiniteError: there is a NaN or an infinity in it, which would be a black hole in the picture.
        """
        if self._arrival is not None:
            self._arrival.synchronize()
        _refuse_unless(self._finite)
        pixels: Pixels = self._pixels_HW3.cpu().numpy().view(self._dtype)
        return pixels


def download(frames: Iterable[Tensor | Pixels], dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> Iterator[Pixels]:
    """Yield frames as integers (H, W, 3); those that are integers already pass through.

    Raises:
        NotFiniteError: there is a NaN or an infinity in one of them.
        OutOfMemoryError: the device's memory ran out.
    """
    copies: torch.cuda.Stream | None = None
    under_way: deque[Download] = deque()
    with out_of_memory_as_error():
        for frame in frames:
            if isinstance(frame, np.ndarray):
                yield frame
                continue
            if frame.is_cuda and copies is None:
                copies = torch.cuda.Stream(frame.device)  # type: ignore[no-untyped-call]
            under_way.append(Download(frame, dtype, copies))
            del frame  # it would stay on the device while the next one is computed
            if copies is None or len(under_way) > DOWNLOADS:
                yield under_way.popleft().pixels()
        while under_way:
            yield under_way.popleft().pixels()


def _pinned_copy(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """Begin to copy a tensor to pinned memory; the device keeps it until `stream` has done that."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)
    return copy


@contextmanager
def out_of_memory_as_error() -> Iterator[None]:
    """Turn the ways to say that memory is used up into an `OutOfMemoryError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"the GPU has too little memory; {_REMEDY}") from error
    except MemoryError as error:
        raise OutOfMemoryError(f"there is too little memory; {_REMEDY}") from error
    except RuntimeError as error:
        # The CPU's allocator, MPS, and the libraries under CUDA have no exception of their own.
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise OutOfMemoryError(f"there is too little memory; {_REMEDY}") from error


_SIGNS = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")
_REMEDY = "give --memory-limit less than there is, or a smaller --max-seq-len (the frames that are held at once)"
