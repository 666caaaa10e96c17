"""Faces over a shot: which of them are one face, where its points are, how much it counts in each frame.

All of it is decided once per shot and from all of its frames, so that nothing comes and goes from frame to frame.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
import numpy.typing as npt

from vsr_pipeline.enhance.face_finder import SURE_SCORE, Face

DOUBTFUL_SCORE = 0.6
"""What a track goes on with; it has to be sure somewhere."""

_LEAST_OVERLAP = 0.3
_GROWN = 0.5
"""Of its sides, that a box is grown by on each side before: a quick face moves by much of its width in a frame."""
_LONGEST_GAP = 8
"""Frames that a face may be missing, turned away or covered, in the middle of its track."""
_LEAST_FOUND = 5
"""Frames that a track needs, where the shot has as many."""
_LEAST_WIDTH = 16.0
"""LQ pixels, over a track: the restoration of smaller faces is nothing but invention."""
_SIGMA = 2.0
"""Frames, of the smoothing of points."""
_FADE = 5
"""Frames in which a face that appears in the middle of a shot gets its full weight."""
# What is stored: hundredths of a pixel, thousandths of a weight.
_STEPS, _WEIGHT_STEPS = 100, 1000

Points = npt.NDArray[np.float64]
"""(5, 2), as `Face.points`."""


@dataclass(frozen=True, slots=True)
class Track:
    """A face in consecutive frames of a shot.

    Attributes:
        start: the first of them, counted from the start of the shot.
        boxes: left, top, width and height in LQ pixels, for each frame: (N, 4).
        points: smoothed, for each frame: (N, 5, 2).
        weights: how much it is restored in each frame, 0 to 1: (N,).
    """

    start: int
    boxes: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return self.start + len(self.weights)


@dataclass(slots=True)
class _Open:
    """A track that is not ended."""

    places: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)


class Tracker:
    """Puts the faces of a shot's frames, in their order, into tracks: by how much their boxes overlap."""

    def __init__(self) -> None:
        self._all: list[_Open] = []
        self._count = 0

    def add(self, faces: Sequence[Face]) -> None:
        """Take the faces of the next frame."""
        here = self._count
        self._count += 1
        open_ones = [one for one in self._all if here - one.places[-1] <= _LONGEST_GAP + 1]
        pairs = [
            (_overlap(one.faces[-1], face), k, n) for k, one in enumerate(open_ones) for n, face in enumerate(faces)
        ]
        used_tracks: set[int] = set()
        used_faces: set[int] = set()
        for overlap, k, n in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if overlap < _LEAST_OVERLAP or k in used_tracks or n in used_faces:
                continue
            used_tracks.add(k)
            used_faces.add(n)
            open_ones[k].places.append(here)
            open_ones[k].faces.append(faces[n])
        self._all += [_Open([here], [face]) for n, face in enumerate(faces) if n not in used_faces]

    def tracks(self) -> tuple[Track, ...]:
        """Return the faces that count: those that are sure at least once, often enough found, and large enough."""
        least = min(_LEAST_FOUND, self._count)
        return tuple(
            self._track(one)
            for one in self._all
            if len(one.faces) >= least
            and max(face.score for face in one.faces) >= SURE_SCORE
            and median(face.width for face in one.faces) >= _LEAST_WIDTH
        )

    def _track(self, one: _Open) -> Track:
        """Fill gaps, smooth, and fade."""
        places = np.arange(one.places[0], one.places[-1] + 1)
        values = np.array([[f.left, f.top, f.width, f.height, *(v for p in f.points for v in p)] for f in one.faces])
        filled = np.stack([np.interp(places, one.places, column) for column in values.T], axis=1)
        smooth = _smoothed(filled)
        # Where nothing was found for some frames, the face may be covered.
        missed = np.abs(places[:, None] - np.array(one.places)).min(axis=1)
        weights = np.minimum(1, (_FADE + 2 - missed) / (_FADE + 1))
        rising = np.arange(1, len(places) + 1) / (_FADE + 1)
        if one.places[0] > 0:  # not cut in
            weights = np.minimum(weights, rising)
        if one.places[-1] < self._count - 1:
            weights = np.minimum(weights, rising[::-1])
        return Track(one.places[0], smooth[:, :4], smooth[:, 4:].reshape(-1, 5, 2), weights)


def weighted(track: Track, factors: npt.NDArray[np.float64]) -> Track:
    """Return a track whose weights are multiplied, one factor for each frame."""
    return replace(track, weights=track.weights * factors)


def write_tracks(tracks: Sequence[Track], frame_count: int) -> str:
    """Write the tracks of a shot as a text for its `Decision`."""
    values = [
        [
            track.start,
            np.rint(track.boxes * _STEPS).astype(int).ravel().tolist(),
            np.rint(track.points * _STEPS).astype(int).ravel().tolist(),
            np.rint(track.weights * _WEIGHT_STEPS).astype(int).tolist(),
        ]
        for track in tracks
    ]
    text = json.dumps([frame_count, values], separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def read_tracks(text: str) -> tuple[tuple[Track, ...], int]:
    """Return the tracks of a shot and its number of frames, as they were written; none for an empty text."""
    if not text:
        return (), 0
    frame_count, values = json.loads(zlib.decompress(base64.b64decode(text)))
    tracks = tuple(
        Track(
            start,
            np.reshape(boxes, (-1, 4)) / _STEPS,
            np.reshape(points, (-1, 5, 2)) / _STEPS,
            np.asarray(weights) / _WEIGHT_STEPS,
        )
        for start, boxes, points, weights in values
    )
    return tracks, frame_count


def frames_with(tracks: Sequence[Track], frame_count: int) -> int:
    """Return in how many frames of a shot a face is restored."""
    has_one = np.zeros(frame_count, bool)
    for track in tracks:
        has_one[track.start : track.stop] |= track.weights > 0
    return int(has_one.sum())


def _overlap(a: Face, b: Face) -> float:
    """Return the share that two grown boxes have in common of what they cover together."""
    grown = 1 + 2 * _GROWN
    (ax, ay), (bx, by) = a.centre, b.centre
    wide = grown * (a.width + b.width) / 2 - abs(ax - bx)
    high = grown * (a.height + b.height) / 2 - abs(ay - by)
    common = min(max(0.0, wide), grown * a.width, grown * b.width)
    common *= min(max(0.0, high), grown * a.height, grown * b.height)
    return common / (grown**2 * (a.width * a.height + b.width * b.height) - common)


def _smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Smooth each column over frames by a Gaussian; at the ends, what is missing is left out."""
    reach = round(3 * _SIGMA)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    count = len(values)
    places = np.arange(count)[:, None] + offsets
    # Symmetrical at the ends, too: else a moving face would lag behind there.
    distance = np.minimum(np.arange(count), np.arange(count)[::-1])[:, None]
    weights = kernel * (np.abs(offsets) <= distance) * (places >= 0) * (places < count)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkc->nc", weights, values[places.clip(0, count - 1)]), np.float64)
