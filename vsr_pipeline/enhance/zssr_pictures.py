"""What ZSSR does to pictures besides its network: reduce them as the input was made, flip and turn them."""

import hashlib
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.media.antialias import FloatFrame, antialiased_bicubic
from vsr_pipeline.media.interpolation import interpolate

Kernel = npt.NDArray[np.float32]
"""(rows, columns), sum 1."""

ORIENTATIONS = tuple(range(8))
"""0 to 3: so many quarter turns; 4 to 7: the same after a flip of left and right."""

_LARGEST_KERNEL = 101
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Reduction:
    """How HR frames became LQ frames.

    Attributes:
        kernel: an LQ pixel is the sum of the HR pixels around its centre, times the kernel, whose middle lies there
            (a correlation: the kernel is not flipped). None: MATLAB's antialiased bicubic.
    """

    kernel: Kernel | None = None

    @property
    def identity(self) -> str:
        """What pixels depend on."""
        if self.kernel is None:
            return "bicubic"
        return hashlib.sha256(f"{self.kernel.shape}".encode() + self.kernel.astype("<f4").tobytes()).hexdigest()

    @property
    def orientations(self) -> tuple[int, ...]:
        """Those in which a reduced frame looks as if it had been reduced after the turn."""
        kernel = self.kernel
        if kernel is None:
            return ORIENTATIONS
        return tuple(
            o
            for o in ORIENTATIONS
            if (turned := turn(kernel, o)).shape == kernel.shape and np.allclose(turned, kernel, atol=1e-6)
        )

    def __call__(self, frame_HW3: FloatFrame, size: tuple[int, int]) -> FloatFrame:
        """Reduce a frame to a height and width; values may overshoot."""
        if self.kernel is None:
            return antialiased_bicubic(frame_HW3, size)
        rows, columns = self.kernel.shape
        # The sum over the kernel at each HR pixel; an even kernel's middle lies half a pixel behind its anchor.
        anchor = ((columns - 1) // 2, (rows - 1) // 2)
        sums = cv2.filter2D(frame_HW3, -1, self.kernel, anchor=anchor, borderType=cv2.BORDER_REFLECT)
        for axis, behind in ((0, (rows + 1) % 2 / 2), (1, (columns + 1) % 2 / 2)):
            source = sums.shape[axis]
            places = (np.arange(size[axis]) + 0.5) * (source / size[axis]) - 0.5 - behind
            sums = _sampled(sums, places, axis)
        return sums


def read_kernel(path: Path) -> Kernel:
    """Read a kernel: a text file with a row a line, or NumPy's .npy.

    Raises:
        InputError: the file cannot be read.
        UsageError: it is no matrix of numbers with the sum 1.
    """
    try:
        if path.suffix == ".npy":
            matrix = np.load(path, allow_pickle=False)
        else:
            text = path.read_text(encoding="utf-8-sig").replace(",", " ").replace(";", " ")
            matrix = np.loadtxt(text.splitlines(), ndmin=2)
    except OSError as error:
        raise InputError(f"cannot read the kernel {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise UsageError(
            f"--kernel {path}: it is no matrix of numbers ({error}): give a row a line, or .npy"
        ) from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or matrix.size == 0 or not np.isfinite(matrix).all():
        raise UsageError(f"--kernel {path}: it is no matrix of finite numbers, but {matrix.dtype} {matrix.shape}")
    if max(matrix.shape) > _LARGEST_KERNEL:
        raise UsageError(f"--kernel {path}: sides {matrix.shape}, allowed are {_LARGEST_KERNEL} at most")
    matrix = matrix.astype(np.float64)
    total = float(matrix.sum())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise UsageError(f"--kernel {path}: its sum is {total:.4g}, it must be 1: divide it by its sum")
    kernel: Kernel = (matrix / total).astype(np.float32)
    return kernel


def turn(picture: FloatFrame, orientation: int) -> FloatFrame:
    """Return a picture (H, W) or (H, W, C) in another orientation."""
    flipped = picture[:, ::-1] if orientation >= 4 else picture
    return np.ascontiguousarray(np.rot90(flipped, orientation % 4))


def turn_back(picture: FloatFrame, orientation: int) -> FloatFrame:
    """Undo `turn`."""
    upright = np.rot90(picture, -(orientation % 4))
    return np.ascontiguousarray(upright[:, ::-1] if orientation >= 4 else upright)


def back_projected(hr: FloatFrame, lq: FloatFrame, reduction: Reduction, times: int) -> FloatFrame:
    """Add what the reduced HR frame lacks to the LQ frame, interpolated, so many times (Irani and Peleg, 1991)."""
    for _ in range(times):
        lacking = lq - reduction(hr, (lq.shape[0], lq.shape[1]))
        hr = hr + interpolate(lacking, (hr.shape[0], hr.shape[1]), "bicubic")
    return hr


def _sampled(frame: FloatFrame, places: npt.NDArray[np.float64], axis: int) -> FloatFrame:
    """Interpolate along an axis at places in pixels, by Keys' cubic (a = -0.5); edges are mirrored."""
    length = frame.shape[axis]
    first = np.floor(places).astype(np.int64)
    t = places - first
    weights = (
        (-(t**3) + 2 * t**2 - t) / 2,
        (3 * t**3 - 5 * t**2 + 2) / 2,
        (-3 * t**3 + 4 * t**2 + t) / 2,
        (t**3 - t**2) / 2,
    )
    shape = [1, 1, 1]
    shape[axis] = len(places)
    total = np.zeros(())
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        index = (first + offset) % (2 * length)
        mirrored = np.minimum(index, 2 * length - 1 - index)
        total = total + frame.take(mirrored, axis=axis) * weight.astype(np.float32).reshape(shape)
    return total.astype(np.float32)


def steps_between(lq: tuple[int, int], hr: tuple[int, int], largest_factor: float) -> tuple[tuple[int, int], ...]:
    """Return the sizes on the way from one size to a larger one, the last one included, by equal factors."""
    factor = max(hr[0] / lq[0], hr[1] / lq[1])
    count = max(1, ceil(np.log(factor) / np.log(largest_factor) - 1e-6))
    sizes = []
    for step in range(1, count):
        height, width = (round(low * (high / low) ** (step / count)) for low, high in zip(lq, hr, strict=True))
        sizes.append((height, width))
    return (*sizes, hr)
