"""What is known of a model after it has run: a row of the page and of the sheet."""

from dataclasses import dataclass

from vsr_pipeline.compare.judging import Score
from vsr_pipeline.compare.making import Made


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model takes for the whole clip on this machine."""

    seconds_per_frame: float
    frame_count: int
    output_bytes: float
    """Of the picture alone, about."""

    @property
    def hours(self) -> float:
        """For all frames."""
        return self.seconds_per_frame * self.frame_count / 3600

    @property
    def gigabytes(self) -> float:
        """In units of 1000."""
        return self.output_bytes / 1e9


@dataclass(frozen=True, slots=True)
class Row:
    """A model, a file that was made of the clip before, or the reference.

    Attributes:
        name: as in `--models`; of a file, its own.
        letter: what it is called where names are hidden.
        made: its pictures, for each moment.
        cost: None for files.
        scores: means over its pictures.
        command: what makes the whole clip by it; empty for files.
        is_reference: whether it is what all others are compared with.
    """

    name: str
    letter: str
    made: tuple[Made, ...]
    cost: Cost | None = None
    scores: tuple[Score, ...] = ()
    command: str = ""
    is_reference: bool = False


def seconds_text(seconds: float) -> str:
    """Write how long a frame takes."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s" if seconds >= 0.01 else f"{seconds:.3f} s"
