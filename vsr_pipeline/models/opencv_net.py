"""The networks of OpenCV's super-resolution module, computed by its `dnn` module: on the CPU, in float32.

What surrounds the network is exactly what `cv2.dnn_superres` of opencv-contrib does: luma goes through the network and
chroma is enlarged bilinearly; EDSR takes BGR from which a mean is subtracted.

Loads no torch, unless it is given tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.frame import radius_or_none

if TYPE_CHECKING:
    from torch import Tensor

Picture = npt.NDArray[Any]
"""(H, W, 3), RGB: uint8, uint16, or float32 from 0 to 1."""

BGR_MEAN = (103.1545782, 111.561547, 114.35629928)
"""What EDSR's authors subtract, in 1/255."""


class OpenCVNet:
    """A network for single pictures; not to be used by two threads at once.

    Args:
        graph: TensorFlow's GraphDef, as OpenCV reads it.
        scale: what sides are multiplied by.
        output: name of the layer that gives the result.
        luma_only: whether it takes luma in [0, 1]; otherwise BGR in [0, 255], less `BGR_MEAN`.
        radius: how far one output pixel sees, in LQ pixels.
        values_per_pixel: the most values that one layer reads and gives, for each LQ pixel.

    Raises:
        ModelError: OpenCV does not read the graph.
    """

    multiple_of = 1

    def __init__(
        self, graph: bytes, *, scale: int, output: str, luma_only: bool, radius: int, values_per_pixel: int
    ) -> None:
        self.scale = scale
        self._output = output
        self._luma_only = luma_only
        self._radius = radius
        self._values_per_pixel = values_per_pixel
        try:
            # An array, because OpenCV takes `bytes` for the path of a file.
            self._net = cv2.dnn.readNetFromTensorflow(np.frombuffer(graph, np.uint8))
        except cv2.error as error:
            raise ModelError(f"OpenCV {cv2.__version__} does not read the network: {_in_one_line(error)}") from error

    def upscale(self, picture_HW3: Picture) -> Picture:
        """Enlarge a picture, and return it in the type that it has.

        Integers are rounded where `cv2.dnn_superres` rounds, which makes the same picture as that; float32 is never
        rounded nor clipped.

        Raises:
            MemoryError: there is not enough of it.
        """
        try:
            if self._luma_only:
                return self._upscale_luma(picture_HW3)
            return self._upscale_bgr(picture_HW3)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError(_in_one_line(error)) from error
            raise

    def __call__(self, frames_NCHW: Tensor) -> Tensor:
        """Return frames (N, 3, scale * H, scale * W), float32, not clipped, of frames (N, 3, H, W) in [0, 1]."""
        import torch

        pictures = [self.upscale(frame) for frame in frames_NCHW.permute(0, 2, 3, 1).contiguous().numpy()]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    def receptive_radius(self) -> int | None:
        """Return how far one output pixel sees, in LQ pixels; None where that is too far for exact tiles."""
        return radius_or_none(self._radius)

    def memory_bytes(self, height: int, width: int, *, bytes_per_value: int = 4) -> int:
        """Estimate the peak of the memory for one frame or tile, in LQ pixels, without the weights.

        `bytes_per_value` has no effect: OpenCV computes in float32.
        """
        del bytes_per_value
        # A layer's input and output, half as much for what OpenCV keeps beside them (measured), four enlarged pictures.
        return height * width * (10 * self._values_per_pixel + 4 * 4 * 3 * self.scale**2)

    def _upscale_luma(self, picture: Picture) -> Picture:
        white = _white(picture)
        ycrcb = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32) * np.float32(1 / white)
        luma, *chroma = cv2.split(ycrcb)
        enlarged = self._forward(cv2.dnn.blobFromImage(luma))[0, 0]
        size = (self.scale * picture.shape[1], self.scale * picture.shape[0])
        planes = [enlarged, *(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in chroma)]
        return cv2.cvtColor(_as_type_of(picture, cv2.merge(planes) * np.float32(white)), cv2.COLOR_YCrCb2RGB)

    def _upscale_bgr(self, picture: Picture) -> Picture:
        to_bytes = np.float32(255 / _white(picture))
        bgr = picture[..., ::-1].astype(np.float32) * to_bytes
        enlarged = self._forward(cv2.dnn.blobFromImage(bgr, mean=BGR_MEAN))[0].transpose(1, 2, 0)
        rgb = np.ascontiguousarray((enlarged + np.array(BGR_MEAN, np.float32))[..., ::-1])
        return _as_type_of(picture, rgb / to_bytes)

    def _forward(self, blob_NCHW: Picture) -> Picture:
        self._net.setInput(blob_NCHW)
        result: Picture = self._net.forward(self._output)
        return result


def _white(picture: Picture) -> int:
    return 1 if picture.dtype == np.float32 else int(np.iinfo(picture.dtype).max)


def _as_type_of(picture: Picture, values: Picture) -> Picture:
    if picture.dtype == np.float32:
        return values
    return np.rint(values).clip(0, _white(picture)).astype(picture.dtype)


def _in_one_line(error: cv2.error) -> str:
    return " ".join(str(error.err or error).split())
