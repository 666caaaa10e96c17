"""The sizes of a clip on its way: what comes in, what the model makes of it, what is written."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.errors import UsageError
from vsr_pipeline.timeline import ClipSize, VideoInfo

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What sizes a model makes.

    Attributes:
        scale: what its network multiplies sides by; what it makes where no size is asked for.
        is_any: whether it makes any other size as well: interpolation, and networks that see the interpolated frame.
    """

    scale: int
    is_any: bool = False


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes upright, as the reader gives frames."""

    input_size: Size
    reduced_size: Size
    """Of the frames that the model sees: smaller than the input with `shrink_input`."""
    model_size: Size
    """Of the frames that the model gives."""
    output_size: Size
    """Of the frames that are written."""
    sample_aspect_ratio: Fraction = Fraction(1)
    """Width / height of a pixel, of input and output."""

    @classmethod
    def of(cls, info: VideoInfo, sizing: Sizing, settings: UpscaleConfig, *, even: bool) -> Self:
        """Return the sizes of a clip.

        Args:
            info: the clip.
            sizing: what the model makes.
            settings: the size that is asked for.
            even: whether sides that are asked for are rounded to even numbers, as the codecs of videos need them.

        Raises:
            UsageError: the output would be smaller than the input.
        """
        whole = cls.of_frames(info.display_size, sizing, settings, even=even)
        return replace(whole, sample_aspect_ratio=info.display_aspect_ratio_of_pixels)

    @classmethod
    def of_frames(cls, size: Size, sizing: Sizing, settings: UpscaleConfig, *, even: bool = False) -> Self:
        """Return the sizes of frames with square pixels; see `of`."""
        reduced = _rounded(size, 1 / exactly(settings.shrink_input))
        natural = (sizing.scale * reduced[0], sizing.scale * reduced[1])
        factor = _factor(size, settings)
        output = natural if factor is None else _rounded(size, factor, even=even)
        if settings.height is not None:
            output = (output[0], settings.height + (settings.height % 2 if even else 0))
        if settings.width is not None:
            output = (settings.width + (settings.width % 2 if even else 0), output[1])
        if factor is not None and factor < 1:
            raise UsageError(
                f"{size[0]}x{size[1]} would become smaller, {output[0]}x{output[1]}: give a larger --scale, --height "
                "or --width (--scale 1: the same size, restored)"
            )
        return cls(size, reduced, output if sizing.is_any else natural, output)

    @classmethod
    def enlarged(cls, size: Size, scale: int) -> Self:
        """Return the sizes of frames that a model enlarges by its own factor."""
        larger = (scale * size[0], scale * size[1])
        return cls(size, size, larger, larger)

    def scaled_to(self, size: Size) -> Self:
        """Return the same factors for frames of another size."""
        sides = (self.reduced_size, self.model_size, self.output_size)
        factors = [tuple(Fraction(side[k], self.input_size[k]) for k in (0, 1)) for side in sides]
        reduced, model, output = ((max(1, round(size[0] * x)), max(1, round(size[1] * y))) for x, y in factors)
        return replace(self, input_size=size, reduced_size=reduced, model_size=model, output_size=output)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing of the sizes: that a part of the enlargement is no model's."""
        if self.output_size[0] <= self.model_size[0]:
            return ()
        larger = " to ".join(f"{width}x{height}" for width, height in (self.model_size, self.output_size))
        return (f"the model makes less than was asked for: from {larger} it is interpolated",)

    def of_model(self, clip: ClipSize) -> ClipSize:
        """Return what the model sees of a clip of these sizes."""
        width, height = self.reduced_size
        return replace(clip, width=width, height=height, output_size=self.output_size)


def size_label(settings: UpscaleConfig, sizing: Sizing) -> str:
    """Return the part of a file's name that tells the output's size: `x4`, `x1.5`, `1080p` or `w1920`.

    It depends on the settings alone, so that the same command finds its own output again.
    """
    if settings.height is not None:
        return f"{settings.height}p"
    if settings.width is not None:
        return f"w{settings.width}"
    if settings.scale is None:
        return f"x{float(sizing.scale / exactly(settings.shrink_input)):.4g}"
    return f"x{settings.scale:.4g}"


def exactly(value: float) -> Fraction:
    """Return the decimal number that a person wrote."""
    return Fraction(str(value))


def _factor(size: Size, settings: UpscaleConfig) -> Fraction | None:
    """Return what sides are to be multiplied by; None: nothing is asked for."""
    if settings.height is not None:
        return Fraction(settings.height, size[1])
    if settings.width is not None:
        return Fraction(settings.width, size[0])
    return None if settings.scale is None else exactly(settings.scale)


def _rounded(size: Size, factor: Fraction, *, even: bool = False) -> Size:
    """Multiply both sides; halves are rounded up."""
    step = 2 if even else 1
    width, height = (max(step, int(side * factor / step + Fraction(1, 2)) * step) for side in size)
    return width, height
