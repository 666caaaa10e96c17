"""Scores that take too long for every frame: of a sample that is spread over the clip."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

SAMPLE_SIZE = 25
"""At most so many frames of a clip are scored: a frame of 1920x1080 takes seconds."""

Score = TypeVar("Score")


@dataclass(slots=True)
class Sample(Generic[Score]):
    """Scores of every k-th frame of a clip from the first one on: k is the least power of two that leaves at most 25.

    Where the length of a clip is not known before its end, the sample is the same, but more is scored on the way.

    Attributes:
        frame_count: how long the clip is likely to be; 0 where that is not known.
        scores: by the index of the frame.
    """

    frame_count: int = 0
    scores: dict[int, Score] = field(default_factory=dict)
    _step: int = 1

    def __post_init__(self) -> None:
        while self._step * SAMPLE_SIZE < self.frame_count:
            self._step *= 2

    def wants(self, index: int) -> bool:
        """Whether a frame is in the sample, as far as that is known."""
        return index % self._step == 0

    def add(self, index: int, score: Score) -> None:
        """Keep the score of a frame that is wanted; frames come in their order."""
        self.scores[index] = score
        if len(self.scores) > SAMPLE_SIZE:
            self._step *= 2
            self.scores = {i: score for i, score in self.scores.items() if self.wants(i)}
