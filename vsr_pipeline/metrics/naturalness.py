"""NIQE and BRISQUE of a clip, without a reference, on a sample of its frames."""

from dataclasses import dataclass

from vsr_pipeline.media.images import Pixels
from vsr_pipeline.metrics.brisque import brisque
from vsr_pipeline.metrics.fidelity import to_255
from vsr_pipeline.metrics.niqe import niqe

SAMPLE_SIZE = 25
"""At most so many frames of a clip are scored: a frame of 1920x1080 takes one to two seconds."""


@dataclass(frozen=True, slots=True)
class Naturalness:
    """Scores of one frame, less is better; None where a frame is too small or flat for one."""

    niqe: float | None
    brisque: float | None


class NaturalnessMeter:
    """Scores every k-th frame of a clip from the first one on: k is the least power of two that leaves at most 25.

    Where the length of a clip is not known before its end, the sample is the same, but more is scored on the way.

    Args:
        frame_count: how long the clip is likely to be; 0 where that is not known.
    """

    def __init__(self, frame_count: int = 0) -> None:
        self._step = 1
        while self._step * SAMPLE_SIZE < frame_count:
            self._step *= 2
        self._scores: dict[int, Naturalness] = {}

    @property
    def scores(self) -> dict[int, Naturalness]:
        """Scores of the sample, by the index of the frame."""
        return dict(self._scores)

    def wants(self, index: int) -> bool:
        """Whether a frame is in the sample, as far as that is known."""
        return index % self._step == 0

    def feed(self, index: int, pixels: Pixels) -> None:
        """Score a frame (H, W, 3) of 8 or 16 bits that is wanted; frames come in their order."""
        rgb = to_255(pixels)
        self._scores[index] = Naturalness(niqe(rgb), brisque(rgb))
        if len(self._scores) > SAMPLE_SIZE:
            self._step *= 2
            self._scores = {i: scores for i, scores in self._scores.items() if self.wants(i)}
