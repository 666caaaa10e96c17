"""Faces in frames, by YuNet (Wu, Peng and Yu, 2023), which ships with the program, through OpenCV."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.checkpoints.manifest import shipped_file
from vsr_pipeline.errors import ModelError
from vsr_pipeline.media.images import Pixels, eight_bits
from vsr_pipeline.runtime.files import file_sha256

_FILE = "face_detection_yunet_2023mar.onnx"
_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_LEAST_SCORE = 0.8
# A face of a few pixels shows nothing.
_LEAST_SIDE = 12
# Larger frames are searched reduced: small faces in them are not what the eye goes to.
_LARGEST_SIDE = 960


@dataclass(frozen=True, slots=True)
class Face:
    """Where a face is, (x, y) of its middle and of an eye, and how wide it is, in pixels of its frame."""

    centre: tuple[float, float]
    eye: tuple[float, float]
    width: float


class FaceFinder:
    """Finds the largest face of a frame.

    Raises:
        ModelError: the network's file is missing or damaged.
    """

    def __init__(self) -> None:
        data = np.frombuffer(_verified(shipped_file(_FILE)).read_bytes(), np.uint8)
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of nothing
        try:
            self._network = cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), (320, 240), _LEAST_SCORE)
        finally:
            cv2.utils.logging.setLogLevel(level)

    def largest(self, pixels: Pixels) -> Face | None:
        """Return the largest face of a frame (H, W, 3), RGB; None: there is none."""
        height, width = pixels.shape[:2]
        factor = min(1.0, _LARGEST_SIDE / max(height, width))
        small: Pixels = pixels
        if factor < 1:
            small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        self._network.setInputSize((small.shape[1], small.shape[0]))
        _, found = self._network.detect(cv2.cvtColor(eight_bits(small), cv2.COLOR_RGB2BGR))
        boxes = [] if found is None else [tuple(float(value) / factor for value in row[:6]) for row in found]
        boxes = [box for box in boxes if min(box[2:4]) >= _LEAST_SIDE]
        if not boxes:
            return None
        x, y, wide, high, *eye = max(boxes, key=lambda box: box[2] * box[3])
        return Face((x + wide / 2, y + high / 2), (eye[0], eye[1]), wide)


def _verified(path: Path) -> Path:
    if not path.is_file() or file_sha256(path) != _SHA256:
        raise ModelError(f"{path}, which finds faces, is missing or damaged: install vsr-pipeline again")
    return path
