"""Between frames (NumPy, H x W x 3, 8 or 16 bits) and tensors (float32, 1 x 3 x H x W, 0 to 1)."""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.enhance.device import Precision
from vsr_pipeline.enhance.memory import out_of_memory_as_error
from vsr_pipeline.enhance.planes import converts_on, to_planes
from vsr_pipeline.errors import NotFiniteError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.write.conversion import Planes, YuvConversion

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,
}
"""Of the features that are kept from step to step."""
DOWNLOADS = 2
"""On a GPU: HR frames that are on their way from it while the next ones are computed."""
# On a CPU: rows that become integers at a time.
_BAND_ROWS = 32


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
    if frame_13HW.device.type == "cpu":
        return _pixels_on_cpu(frame_13HW[0], dtype)
    pixels = Download(frame_13HW, dtype).arrived()
    assert isinstance(pixels, np.ndarray)
    return pixels


def _pixels_on_cpu(frame_3HW: Tensor, dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> Pixels:
    """Clip and round a frame in bands of rows, so that everything in between stays in the caches.

    Raises:
        NotFiniteError: as `to_pixels`.
    """
    _, height, width = frame_3HW.shape
    pixels: Pixels = np.empty((height, width, 3), dtype)
    for top in range(0, height, _BAND_ROWS):
        band = frame_3HW[:, top : top + _BAND_ROWS]
        if not torch.isfinite(band.sum()):  # a tenth of the time that a look at each value takes
            check_finite(band)
        integers = _as_integers(band.clamp(0, 1).mul_(np.iinfo(dtype).max).round_(), dtype)
        target = pixels[top : top + _BAND_ROWS]
        if integers[0].is_contiguous():  # else colours lie together already
            cv2.merge([plane.numpy().view(dtype) for plane in integers], dst=target)
        else:
            target[:] = integers.permute(1, 2, 0).numpy().view(dtype)
    return pixels


class Download:
    """A frame on its way from a device: clipped and rounded there, so that it crosses the bus as integers.

    On CUDA it is copied on a stream of its own, into pinned memory, while the next frames are computed.

    Args:
        frame_13HW: RGB, float32.
        dtype: of the integers, over whose range [0, 1] is stretched.
        stream: what copies; None: wait for it at once.
        conversion: to YUV, on the device; None: it stays RGB.
    """

    def __init__(
        self,
        frame_13HW: Tensor,
        dtype: np.dtype[np.uint8] | np.dtype[np.uint16],
        stream: torch.cuda.Stream | None = None,
        conversion: YuvConversion | None = None,
    ) -> None:
        self._conversion = conversion
        self._dtype = dtype if conversion is None else conversion.sample_type
        self._finite = torch.isfinite(frame_13HW).all()
        if conversion is None:
            scaled = frame_13HW[0].clamp(0, 1).mul_(np.iinfo(dtype).max).round_()
            self._integers = [_as_integers(scaled, self._dtype).permute(1, 2, 0).contiguous()]
        else:
            self._integers = [_as_integers(plane, self._dtype) for plane in to_planes(frame_13HW, conversion)]
        self._arrival: torch.cuda.Event | None = None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(frame_13HW.device))
            with torch.cuda.stream(stream):
                self._finite = _pinned_copy(self._finite, stream)
                self._integers = [_pinned_copy(integers, stream) for integers in self._integers]
                self._arrival = stream.record_event()

    def arrived(self) -> Pixels | Planes:
        """Wait until the frame is here, and return it: (H, W, 3), or its planes where it is YUV.

        Raises:
            NotFiniteError: there is a NaN or an infinity in it, which would be a black hole in the picture.
        """
        if self._arrival is not None:
            self._arrival.synchronize()
        _refuse_unless(self._finite)
        arrays = [integers.cpu().numpy().view(self._dtype) for integers in self._integers]
        if self._conversion is None:
            return arrays[0]
        luma, blue, red = arrays
        return Planes((luma, blue, red), self._conversion)


@torch.inference_mode()
def download(
    frames: Iterable[Tensor | Pixels],
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16],
    conversion: YuvConversion | None = None,
) -> Iterator[Pixels | Planes]:
    """Yield frames as integers (H, W, 3); those that are integers already pass through.

    What makes `frames` when they are asked for runs in inference mode, too.

    Args:
        frames: HR frames.
        dtype: of the integers.
        conversion: to YUV, for frames of a device that converts; they are yielded as `Planes`.

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
            to_yuv = conversion if converts_on(frame.device) else None
            if to_yuv is None and frame.device.type == "cpu":
                yield _pixels_on_cpu(frame[0], dtype)
                continue
            under_way.append(Download(frame, dtype, copies, to_yuv))
            del frame  # it would stay on the device while the next one is computed
            if copies is None or len(under_way) > DOWNLOADS:
                yield under_way.popleft().arrived()
        while under_way:
            yield under_way.popleft().arrived()


def _as_integers(values: Tensor, dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> Tensor:
    """Return rounded values as integers. 16 bits cross with a sign: see `to_tensor`; the lowest bits are the same."""
    return values.to(torch.uint8) if dtype == np.uint8 else values.to(torch.int32).to(torch.int16)


def _pinned_copy(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """Begin to copy a tensor to pinned memory; the device keeps it until `stream` has done that."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)
    return copy
