"""The sizes of a clip on its way: what comes in, what the model makes of it, what is written."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from vsr_pipeline.timeline import VideoInfo


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes are (width, height) in pixels, upright as the reader gives them."""

    input_size: tuple[int, int]
    model_size: tuple[int, int]
    """Of the frames that the model gives."""
    output_size: tuple[int, int]
    """Of the frames that are written."""
    sample_aspect_ratio: Fraction
    """Width / height of a pixel, of input and output."""

    @classmethod
    def of(cls, info: VideoInfo, scale: int) -> Self:
        """Return the sizes of a clip that is enlarged by a model's factor."""
        width, height = info.display_size
        larger = (scale * width, scale * height)
        return cls((width, height), larger, larger, info.display_aspect_ratio_of_pixels)
