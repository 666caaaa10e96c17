"""`--faces`: a step that finds faces in LQ frames and restores them in HR frames, steadily.

Faces are found and followed once per shot, before its first segment; what was found is in the shot's `Decision`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.face_finder import QUARTER_TURNS, FaceFinder
from vsr_pipeline.enhance.face_tracks import (
    DOUBTFUL_SCORE,
    Track,
    Tracker,
    frames_with,
    read_tracks,
    weighted,
    write_tracks,
)
from vsr_pipeline.enhance.face_warp import Similarity, add_back, crop
from vsr_pipeline.enhance.net_steps import Change, NetStepSpec
from vsr_pipeline.enhance.spec import FACES, Say
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.runtime.progress import counted
from vsr_pipeline.timeline import Decision, Shot

Restore = Callable[[Tensor], Tensor]
"""A network for faces: (1, 3, 512, 512), RGB in [0, 1], to the same."""

_SEARCHED_SIDE = 1280
_TURNED = 3
"""Frames of a shot, evenly spread, that are searched in all four directions."""
_TURNED_SCORE = 0.88
"""Of a face in them, for which all frames are searched in its direction; false ones upside down have up to 0.86."""
_SAID_EVERY = 500
_DESCRIBED = 12
"""Tracks of a shot that are described one by one."""
# HR pixels that a pixel of the network's square shows, along a side: from the first on, less of a face is restored,
# from the second on nothing. The network has no more detail to give than the square has.
_WORTH, _NOT_WORTH = 1.5, 2.0
# HR frames that are held at once: the frame, the changed one, places and weights around a face.
_FRAMES_HELD = 4
# Of GFPGAN and the square around it, in float32.
_NETWORK_BYTES = 850_000_000


@dataclass(frozen=True, slots=True)
class _Appearance:
    """A face in an HR frame."""

    similarity: Similarity
    weight: float


class FaceStep:
    """Finds faces, and restores them where a network is given; see `NetStep`.

    Args:
        restore: the network, on its device; None: faces are only reported.
        strength: share of a restored face, 0 to 1.
    """

    def __init__(self, restore: Restore | None, strength: float) -> None:
        self._restore = restore
        self._strength = strength

    def decide(self, samples: Sequence[Pixels], *, geometry: Geometry, say: Say) -> Decision:
        """Find the faces of a shot's frames, and follow them."""
        if not len(samples):
            return Decision()
        finder = FaceFinder(least_score=DOUBTFUL_SCORE, largest_side=_SEARCHED_SIDE, enlarges=True)
        turns = _turns_of(finder, samples)
        tracker = Tracker()
        for count, pixels in enumerate(samples, start=1):
            tracker.add(finder.find(pixels, turns))
            if count % _SAID_EVERY == 0:
                say(f"looked for faces in {count} of {counted(len(samples), 'frame')}")
        x, y = (geometry.model_size[k] / geometry.reduced_size[k] for k in (0, 1))
        tracks = [_worth_restoring(track, (x * y) ** 0.5) for track in tracker.tracks()]
        return Decision({FACES: write_tracks(tracks, len(samples))}, _described(tracks, len(samples)))

    def begin(self, decided: str, geometry: Geometry) -> Change:
        """Return the restoration of the faces of a segment."""
        tracks, _ = read_tracks(decided)
        factors = np.array([geometry.model_size[k] / geometry.reduced_size[k] for k in (0, 1)])
        faces: dict[int, list[_Appearance]] = defaultdict(list)
        for track in tracks if self._restore is not None else ():
            for n, weight in enumerate(track.weights):
                if weight > 0:
                    faces[track.start + n].append(_Appearance(Similarity.of(track.points[n] * factors), float(weight)))

        def change(hr: Tensor, place: int) -> Tensor:
            for face in faces.get(place, ()):
                hr = self._restored(hr, face)
            return hr

        return change

    def take_notes(self) -> tuple[str, ...]:
        """Return nothing: what could not be done is part of the decision."""
        return ()

    def _restored(self, hr: Tensor, face: _Appearance) -> Tensor:
        assert self._restore is not None
        before = crop(hr.clamp(0, 1), face.similarity).clamp_(0, 1)
        after = self._restore(before).float().clamp(0, 1)
        return add_back(hr, after - before, face.similarity, self._strength * face.weight)


def faces_step(
    network: torch.nn.Module | None, sha256: str, name: str, strength: float, device: torch.device
) -> NetStepSpec:
    """Return the step.

    Args:
        network: maps faces as `Restore`, on the CPU; None: faces are only reported.
        sha256: of its weights.
        name: of the model.
        strength: share of a restored face, 0 to 1.
        device: where it runs.
    """

    def build(level: int, on: torch.device, in_fp32: bool) -> FaceStep:
        del level, in_fp32  # there is one way, and that is in float32
        if network is not None:
            # Not by `put_on`: some of its weights have five axes, which have no layout with the channels last.
            network.to(on)
            if on.type == "cuda":
                torch.backends.cudnn.allow_tf32 = False
        return FaceStep(network, strength)

    def memory_bytes(level: int, height: int, width: int) -> int:
        del level
        if network is None:
            return 0
        weights = 4 * sum(parameter.numel() for parameter in network.parameters())
        return weights + _NETWORK_BYTES + _FRAMES_HELD * 3 * 4 * height * width

    def summary(decisions: Sequence[Decision]) -> tuple[str, ...]:
        shots = [read_tracks(str(decision.values.get(FACES, ""))) for decision in decisions]
        frames = sum(frames_with(*shot) for shot in shots)
        of = counted(sum(count for _, count in shots), "frame")
        if network is None:
            return (f"faces on {frames} of {of}: nothing was changed",)
        return (f"faces restored by {name} on {frames} of {of}: a restored face is a guess",)

    return NetStepSpec(
        name=FACES,
        description="faces reported" if network is None else f"faces restored by {name}, strength {strength:g}",
        identity={} if network is None else {"faces_weights_sha256": sha256, "device": device.type},
        device=None if network is None else device,
        levels=("",),
        memory_bytes=memory_bytes,
        build=build,
        summary=summary,
    )


def _turns_of(finder: FaceFinder, samples: Sequence[Pixels]) -> tuple[int, ...]:
    """Return how all frames of a shot are turned to be searched: as some of them show sure faces, and as they are."""
    looked_at = [samples[i] for i in sample_indices(Shot(0, len(samples)), _TURNED)]
    faces = [face for pixels in looked_at for face in finder.find(pixels, QUARTER_TURNS)]
    return tuple(sorted({0, *(face.turns for face in faces if face.score >= _TURNED_SCORE)}))


def _worth_restoring(track: Track, scale: float) -> Track:
    """Return a track with less weight, down to none, where the face has more pixels than the network gives."""
    shown = np.array([Similarity.of(points * scale).pixels_of_frame for points in track.points])
    rest = ((_NOT_WORTH - shown) / (_NOT_WORTH - _WORTH)).clip(0, 1)
    return weighted(track, rest)


def _described(tracks: Sequence[Track], frame_count: int) -> str:
    """Say what was found in a shot: how many faces, in how many frames, and where."""
    if not tracks:
        return "no faces"
    has_one = np.zeros(frame_count, bool)
    for track in tracks:
        has_one[track.start : track.stop] = True
    said = []
    for track in tracks[:_DESCRIBED]:
        left, top, width, height = np.rint(track.boxes[len(track.boxes) // 2]).astype(int)
        where = f"{width}x{height} at {left},{top}"
        large = "" if track.weights.any() else ", too large to gain"
        said.append(f"{where} in frames {track.start}-{track.stop}{large}" if frame_count > 1 else f"{where}{large}")
    more = [f"{len(tracks) - _DESCRIBED} more"] if len(tracks) > _DESCRIBED else []
    found = f"{counted(len(tracks), 'face')} in {int(has_one.sum())} of {counted(frame_count, 'frame')}"
    return f"{found} ({'; '.join([*said, *more])})"
