"""Temporal flicker: what changes from frame to frame in a clip and does not in its reference."""

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.metrics.fidelity import FloatArray

_LEAST_VISIBLE_SHARE = 0.1
"""Of the pixels; with fewer the two frames are of different shots, and the flow between them means nothing."""
_LEAST_SIDE = 32
"""Smaller frames are extended for the optical flow, whose pyramid begins at patches of 8 pixels."""


class FlickerMeter:
    """Measures the flicker of each frame of a clip against the frame before.

    With luma D_t of the distorted frames and R_t of the reference (8-bit code values), and W the warp of frame t - 1 to
    frame t along the reference's optical flow, the flicker of frame t is the mean absolute value, over the pixels that
    are visible in both frames, of

        (D_t - W D_{t-1}) - (R_t - W R_{t-1})  =  (D_t - R_t) - W (D_{t-1} - R_{t-1}).

    It is 0 where the distorted clip changes as its reference does, whatever the picture looks like: a constant offset
    costs nothing, details that come and go cost what they change by.

    The flow is DIS (Kroeger et al., 2016; OpenCV's preset "medium") on the reference alone, so all clips are judged
    along the same flow. Pixels count as visible where forward and backward flow agree within the bound of Sundaram et
    al. (2010), which is also the one of the usual warping error (Lai et al., 2018), and where the flow stays inside.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._previous: tuple[FloatArray, FloatArray] | None = None

    def feed(self, reference: FloatArray, distorted: FloatArray) -> float | None:
        """Take the luma (H, W), 0 to 255, of the next frame of both clips.

        Returns:
            Its flicker; None for the first frame and where a shot begins.
        """
        error = distorted - reference
        previous, self._previous = self._previous, (reference, error)
        if previous is None:
            return None
        now, before = _for_flow(reference), _for_flow(previous[0])
        height, width = reference.shape
        backward = np.asarray(self._flow.calc(now, before, None), np.float32)[:height, :width]  # type: ignore[call-overload]
        forward = np.asarray(self._flow.calc(before, now, None), np.float32)[:height, :width]  # type: ignore[call-overload]
        visible = _visible(backward, forward)
        if visible.mean() < _LEAST_VISIBLE_SHARE:
            return None
        change = np.abs(error - _warp(previous[1], backward))
        return float(change[visible].mean())


def _for_flow(plane: FloatArray) -> npt.NDArray[np.uint8]:
    missing = [max(0, _LEAST_SIDE - side) for side in plane.shape]
    whole = np.pad(plane, [(0, m) for m in missing], mode="edge")
    return np.rint(whole).clip(0, 255).astype(np.uint8)


def _targets(flow_HW2: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Where each pixel comes from, as (x, y)."""
    height, width, _ = flow_HW2.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    return (flow_HW2 + grid).astype(np.float32)


def _warp(array: npt.NDArray[np.floating], flow_HW2: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
    """Sample (H, W) or (H, W, C) where the flow points to, bilinearly, the border repeated."""
    targets = _targets(flow_HW2)
    return np.asarray(cv2.remap(array, targets, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]


def _visible(backward: npt.NDArray[np.float32], forward: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which pixels of a frame are in the frame before, too (H, W), by the flows between them (H, W, 2)."""
    height, width, _ = backward.shape
    x, y = np.moveaxis(_targets(backward), -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    back_again = _warp(forward, backward)
    difference = ((backward + back_again) ** 2).sum(axis=-1)
    length = (backward**2).sum(axis=-1) + (back_again**2).sum(axis=-1)
    return np.asarray(inside & (difference <= 0.01 * length + 0.5))
