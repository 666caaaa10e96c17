"""Faces in frames, by YuNet (Wu, Peng and Yu, 2023), which ships with the program, through OpenCV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.checkpoints.manifest import shipped_file
from vsr_pipeline.errors import ModelError
from vsr_pipeline.media.images import Pixels, eight_bits
from vsr_pipeline.runtime.files import file_sha256

SURE_SCORE = 0.8
"""From here on, what was found is taken for a face by itself."""

_FILE = "face_detection_yunet_2023mar.onnx"
_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
# A face of a few pixels shows nothing.
_LEAST_SIDE = 12
# Of what two boxes cover together, from where on they are one face; the network's own limit.
_SAME_FACE = 0.3

QUARTER_TURNS = (0, 1, 2, 3)
"""Ways to turn a frame before it is searched: so many times by 90 degrees, against the clock."""

Point = tuple[float, float]
"""(x, y) in pixels of a frame; 0 is the border of the first pixel."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a frame, in pixels of it.

    Attributes:
        left: of its box.
        top: of its box.
        width: of its box.
        height: of its box.
        points: right eye, left eye, nose, right and left corner of the mouth; right is the person's own.
        score: how sure the network is, 0 to 1.
        turns: the quarter turns of the frame after which it was found.
    """

    left: float
    top: float
    width: float
    height: float
    points: tuple[Point, ...]
    score: float
    turns: int = 0

    @property
    def centre(self) -> Point:
        """The middle of its box."""
        return self.left + self.width / 2, self.top + self.height / 2


class FaceFinder:
    """Finds the faces of frames.

    Args:
        least_score: of what is taken for a face.
        largest_side: larger frames are searched reduced to it.
        enlarges: whether smaller ones are searched enlarged, twice at most: small faces are found so.

    Raises:
        ModelError: the network's file is missing or damaged.
    """

    def __init__(self, *, least_score: float = SURE_SCORE, largest_side: int = 960, enlarges: bool = False) -> None:
        data = np.frombuffer(_verified(shipped_file(_FILE)).read_bytes(), np.uint8)
        self._largest_side = largest_side
        self._largest_factor = 2.0 if enlarges else 1.0
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of nothing
        try:
            self._network = cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), (320, 240), least_score)
        finally:
            cv2.utils.logging.setLogLevel(level)

    def find(self, pixels: Pixels, turns: Sequence[int] = (0,)) -> tuple[Face, ...]:
        """Return the faces of a frame (H, W, 3), RGB, the surest one first.

        A face on its side is often missed, or found with its points in wrong places. In a frame that is turned it is
        found, and surer.

        Args:
            pixels: the frame.
            turns: how it is turned before it is searched, each one a search of its own; of `QUARTER_TURNS`.
        """
        height, width = pixels.shape[:2]
        found = [
            _turned_back(face, turn, width, height)
            for turn in turns
            for face in self._find(np.ascontiguousarray(np.rot90(pixels, turn)))  # type: ignore[arg-type]
        ]
        faces: list[Face] = []
        for face in sorted(found, key=lambda face: -face.score):
            if len(turns) == 1 or all(_common(face, surer) < _SAME_FACE for surer in faces):
                faces.append(face)
        return tuple(faces)

    def _find(self, pixels: Pixels) -> list[Face]:
        factor = min(self._largest_factor, self._largest_side / max(pixels.shape[:2]))
        searched: Pixels = pixels
        if factor != 1:
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
            searched = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)  # type: ignore[assignment]
        self._network.setInputSize((searched.shape[1], searched.shape[0]))
        _, found = self._network.detect(cv2.cvtColor(eight_bits(searched), cv2.COLOR_RGB2BGR))
        # Sides are rounded when a frame is resized.
        x, y = searched.shape[1] / pixels.shape[1], searched.shape[0] / pixels.shape[0]
        faces = [_face(row, x, y) for row in ([] if found is None else found)]
        return [face for face in faces if min(face.width, face.height) >= _LEAST_SIDE]


def _face(row: np.ndarray, x: float, y: float) -> Face:
    """Read what the network says of a face in a frame whose sides were multiplied by `x` and `y`."""
    values = [float(value) for value in row]
    points = tuple((values[k] / x, values[k + 1] / y) for k in range(4, 14, 2))
    return Face(values[0] / x, values[1] / y, values[2] / x, values[3] / y, points, values[14])


def _turned_back(face: Face, turns: int, width: int, height: int) -> Face:
    """Return a face of a frame that was turned as a face of the frame, whose sides are given."""
    here = face
    for turn in range(turns, 0, -1):
        across = width if turn % 2 else height  # of the frame before this turn
        here = replace(
            here,
            left=across - here.top - here.height,
            top=here.left,
            width=here.height,
            height=here.width,
            points=tuple((across - y, x) for x, y in here.points),
        )
    return replace(here, turns=turns)


def _common(a: Face, b: Face) -> float:
    """Return the share that two boxes have in common of what they cover together."""
    wide = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    high = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(0.0, wide) * max(0.0, high)
    return common / (a.width * a.height + b.width * b.height - common)


def _verified(path: Path) -> Path:
    if not path.is_file() or file_sha256(path) != _SHA256:
        raise ModelError(f"{path}, which finds faces, is missing or damaged: install vsr-pipeline again")
    return path
