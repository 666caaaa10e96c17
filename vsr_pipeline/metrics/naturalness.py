"""NIQE and BRISQUE of a clip, without a reference, on a sample of its frames."""

from dataclasses import dataclass

from vsr_pipeline.media.images import Pixels
from vsr_pipeline.metrics.brisque import brisque
from vsr_pipeline.metrics.fidelity import to_255
from vsr_pipeline.metrics.niqe import niqe
from vsr_pipeline.metrics.sample import Sample


@dataclass(frozen=True, slots=True)
class Naturalness:
    """Scores of one frame, less is better; None where a frame is too small or flat for one."""

    niqe: float | None
    brisque: float | None


class NaturalnessMeter:
    """Scores the frames of a `Sample`.

    Args:
        frame_count: how long the clip is likely to be; 0 where that is not known.
    """

    def __init__(self, frame_count: int = 0) -> None:
        self._sample: Sample[Naturalness] = Sample(frame_count)

    @property
    def scores(self) -> dict[int, Naturalness]:
        """Scores of the sample, by the index of the frame."""
        return dict(self._sample.scores)

    def wants(self, index: int) -> bool:
        """Whether a frame is in the sample, as far as that is known."""
        return self._sample.wants(index)

    def feed(self, index: int, pixels: Pixels) -> None:
        """Score a frame (H, W, 3) of 8 or 16 bits that is wanted; frames come in their order."""
        rgb = to_255(pixels)
        self._sample.add(index, Naturalness(niqe(rgb), brisque(rgb)))
