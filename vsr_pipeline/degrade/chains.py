"""What a degradation does, as plain data: chains of steps, one of which is drawn for each sequence.

A parameter that may differ from frame to frame is a `Varying`: drawn uniformly between `low` and `high` for the first
frame, then walking by at most `step` a frame. Noise is in 255ths of the range, blur in pixels of the frame that is
blurred.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

KernelShape = Literal["iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso", "sinc"]
Filter = Literal["bilinear", "area", "bicubic", "antialiased"]
ChromaFilter = Literal["area", "bilinear", "nearest"]
Encoder = Literal["h264", "hevc", "mpeg4"]
Speed = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"]
Strength = Literal["mild", "medium", "heavy"]
Preset = Literal["mixture", "published", "mild", "medium", "heavy"]

Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], Strict(False)]  # in TOML, a list


class Plain(BaseModel):
    """Settings that are checked strictly and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Varying(Plain):
    """A parameter of a step: uniform in [low, high] at first, then a walk of at most `step` from frame to frame."""

    low: float
    high: float
    step: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


def varying(low: float, high: float, step: float = 0.0) -> Varying:
    """Short for `Varying(low=..., high=..., step=...)`."""
    return Varying(low=low, high=high, step=step)


class Blur(Plain):
    """Convolution with a kernel whose shape and size are drawn once, and whose form walks."""

    kind: Literal["blur"] = "blur"
    probability: Probability = 1.0
    shapes: dict[KernelShape, Weight] = {"iso": 1.0}
    sizes: tuple[int, int] = Field(
        (7, 21), strict=False, description="smallest and largest width of a kernel in pixels, both odd"
    )
    sigma: Varying = varying(0.2, 3.0, 0.02)
    angle: Varying = varying(-math.pi, math.pi, math.pi / 10)
    beta_generalised: Varying = varying(0.5, 4.0, 0.05)
    beta_plateau: Varying = varying(1.0, 2.0, 0.1)
    cutoff: Varying = Field(varying(math.pi / 5, math.pi, math.pi / 50), description="of sinc, radians per pixel")

    @model_validator(mode="after")
    def _odd(self) -> Self:
        smallest, largest = self.sizes
        if not (1 <= smallest <= largest and smallest % 2 == largest % 2 == 1):
            raise ValueError(f"sizes {list(self.sizes)} must be odd, positive and ascending")
        if self.sigma.low < 0:
            raise ValueError(f"sigma {self.sigma.low} is negative")
        check_drawable(self.shapes, "shapes")
        return self


class Resize(Plain):
    """A change of size: by a factor that walks, or, without `scale`, to the size of the result."""

    kind: Literal["resize"] = "resize"
    probability: Probability = 1.0
    scale: Varying | None = Field(None, description="factor on width and height; else to the size of the result")
    up: Weight = Field(1.0, description="weight of factors between 1 and scale.high")
    down: Weight = Field(1.0, description="weight of factors between scale.low and 1")
    keep: Weight = Field(1.0, description="weight of the factor 1 for the first frame")
    filters: dict[Filter, Weight] = {"bilinear": 1.0, "area": 1.0, "bicubic": 1.0}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.scale is not None and not 0 < self.scale.low <= 1 <= self.scale.high:
            raise ValueError(f"scale [{self.scale.low}, {self.scale.high}] must be positive and include 1")
        if self.scale is None and self.probability != 1:
            raise ValueError(f"a resize to the size of the result has probability 1, not {self.probability}")
        if self.up + self.down + self.keep <= 0:
            raise ValueError("one of up, down, keep must be above 0")
        check_drawable(self.filters, "filters")
        return self


class Noise(Plain):
    """Gaussian or Poisson noise, new in every frame, alike in all three channels if grey."""

    kind: Literal["noise"] = "noise"
    probability: Probability = 1.0
    sigma: Varying = Field(varying(1, 30, 0.1), description="standard deviation in 255ths")
    poisson: Probability = Field(0.0, description="probability of Poisson noise; else it is Gaussian")
    poisson_scale: Varying = varying(0.05, 3.0, 0.005)
    grey: Probability = 0.0


class Jpeg(Plain):
    """JPEG compression of each frame."""

    kind: Literal["jpeg"] = "jpeg"
    probability: Probability = 1.0
    quality: Varying = varying(30, 95, 3)


class Chroma(Plain):
    """Colour through half the size (4:2:0), by filters that are drawn once, and out of place."""

    kind: Literal["chroma"] = "chroma"
    probability: Probability = 1.0
    shrink: dict[ChromaFilter, Weight] = {"area": 1.0, "bilinear": 1.0, "nearest": 1.0}
    enlarge: dict[ChromaFilter, Weight] = {"bilinear": 1.0, "nearest": 1.0}
    shift: Varying = Field(varying(0, 0), description="of colour, in pixels, to the right and down, each drawn")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_drawable(self.shrink, "shrink")
        check_drawable(self.enlarge, "enlarge")
        return self


class VideoCompression(Plain):
    """A real video encoder over all frames, 4:2:0, at a constant quality (`crf`) or a mean size (`bits_per_frame`)."""

    kind: Literal["video_compression"] = "video_compression"
    probability: Probability = 1.0
    encoders: dict[Encoder, Weight] = {"h264": 1.0}
    crf: Varying | None = Field(None, description="of x264 and x265; mpeg4 gets the quantiser of the same step")
    bits_per_frame: Varying | None = None
    speed: Speed = Field("medium", description="preset of x264 and x265")

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.crf is None) == (self.bits_per_frame is None):
            raise ValueError("give one of crf and bits_per_frame")
        if self.crf is not None and not 0 <= self.crf.low <= self.crf.high <= 51:
            raise ValueError(f"crf [{self.crf.low}, {self.crf.high}] is not inside [0, 51]")
        if self.bits_per_frame is not None and self.bits_per_frame.low < 1:
            raise ValueError(f"bits_per_frame {self.bits_per_frame.low} is below 1")
        check_drawable(self.encoders, "encoders")
        return self


Simple = Annotated[Blur | Resize | Noise | Jpeg | Chroma | VideoCompression, Field(discriminator="kind")]


class RandomOrder(Plain):
    """Groups of steps, one after the other in an order that is drawn for each sequence."""

    kind: Literal["random_order"] = "random_order"
    probability: Literal[1] = 1
    groups: Listed[Listed[Simple]]


Step = Annotated[
    Blur | Resize | Noise | Jpeg | Chroma | VideoCompression | RandomOrder,
    Field(discriminator="kind"),
]


class Chain(Plain):
    """Steps in order; the result is quantised to 8 bits. `weight` against the other chains says how often."""

    name: str
    weight: Weight = 1.0
    steps: Listed[Step]

    @model_validator(mode="after")
    def _ends_in_size(self) -> Self:
        """Without this, what comes out would have a size that is right by accident only."""
        for step in reversed(self.steps):
            resizes = [s for s in _simple(step) if isinstance(s, Resize)]
            if resizes:
                if any(s.scale is not None for s in resizes):
                    break
                return self
        raise ValueError(f"the last resize of chain {self.name!r} must be one without scale, to the size of the result")


def _simple(step: Step) -> Iterator[Simple]:
    """The step itself, or all that are in its groups."""
    if isinstance(step, RandomOrder):
        for group in step.groups:
            yield from group
    else:
        yield step


def check_drawable(weights: Mapping[Any, float], name: str) -> None:
    """Raise ValueError unless one of `weights`, called `name`, can be drawn."""
    if sum(weights.values()) <= 0:
        raise ValueError(f"{name}: at least one weight must be above 0")
