"""What a degradation does, as plain data: chains of steps, one of which is drawn for each sequence.

A parameter that may differ from frame to frame is a `Varying`: drawn uniformly between `low` and `high` for the first
frame, then walking by at most `step` a frame. Noise is in 255ths of the range, blur in pixels of the frame that is
blurred.
"""

import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from vsr_pipeline.config import how_to_write
from vsr_pipeline.errors import ConfigError, InputError

KernelShape = Literal["iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso", "sinc"]
Filter = Literal["bilinear", "area", "bicubic", "antialiased"]
Encoder = Literal["h264", "hevc", "mpeg4"]
Speed = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"]
Strength = Literal["mild", "medium", "heavy"]
Preset = Literal["mixture", "published", "mild", "medium", "heavy"]

Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], Strict(False)]  # in TOML, a list


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Varying(_Plain):
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


class Blur(_Plain):
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
        _drawable(self.shapes, "shapes")
        return self


class Resize(_Plain):
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
        _drawable(self.filters, "filters")
        return self


class Noise(_Plain):
    """Gaussian or Poisson noise, new in every frame, alike in all three channels if grey."""

    kind: Literal["noise"] = "noise"
    probability: Probability = 1.0
    sigma: Varying = Field(varying(1, 30, 0.1), description="standard deviation in 255ths")
    poisson: Probability = Field(0.0, description="probability of Poisson noise; else it is Gaussian")
    poisson_scale: Varying = varying(0.05, 3.0, 0.005)
    grey: Probability = 0.0


class Jpeg(_Plain):
    """JPEG compression of each frame."""

    kind: Literal["jpeg"] = "jpeg"
    probability: Probability = 1.0
    quality: Varying = varying(30, 95, 3)


class VideoCompression(_Plain):
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
        _drawable(self.encoders, "encoders")
        return self


Simple = Annotated[Blur | Resize | Noise | Jpeg | VideoCompression, Field(discriminator="kind")]


class RandomOrder(_Plain):
    """Groups of steps, one after the other in an order that is drawn for each sequence."""

    kind: Literal["random_order"] = "random_order"
    probability: Literal[1] = 1
    groups: Listed[Listed[Simple]]


Step = Annotated[
    Blur | Resize | Noise | Jpeg | VideoCompression | RandomOrder,
    Field(discriminator="kind"),
]


class Chain(_Plain):
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


class DegradationConfig(_Plain):
    """A preset, perhaps with other weights for its chains; or chains of one's own."""

    preset: Preset | None = None
    weights: dict[str, Weight] = Field({}, description="weights of the preset's chains, by name; others keep theirs")
    chains: Listed[Chain] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.chains and (self.preset is not None or self.weights):
            raise ValueError("give chains of your own, or a preset with weights, not both")
        names = [chain.name for chain in self._unweighted()]
        if len(set(names)) < len(names):
            raise ValueError(f"chain names must differ: {', '.join(names)}")
        for name in self.weights:
            if name not in names:
                raise ValueError(f"weights names {name!r}; the chains are {', '.join(names)}")
        _drawable({chain.name: chain.weight for chain in self.resolved_chains}, "weights")
        return self

    @property
    def resolved_chains(self) -> tuple[Chain, ...]:
        """The chains that one is drawn from, with their weights."""
        chains = self._unweighted()
        return tuple(c.model_copy(update={"weight": self.weights.get(c.name, c.weight)}) for c in chains)

    def _unweighted(self) -> tuple[Chain, ...]:
        from vsr_pipeline.degrade.presets import preset_chains

        return self.chains or preset_chains(self.preset or "mixture")


def load_degradation(path: Path) -> DegradationConfig:
    """Read the section `[degradation]` of a TOML file; other sections are left alone.

    Raises:
        InputError: the file cannot be read.
        ConfigError: it is no TOML, has no such section, or a value is not allowed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    if "degradation" not in values:
        raise ConfigError(f"{path} has no section [degradation]")
    try:
        return DegradationConfig.model_validate(values["degradation"])
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, ('degradation', *e['loc'])))}: {e['msg']}{how_to_write(e)}" for e in error.errors()
        )
        raise ConfigError(f"{path}: {found}") from error


def _simple(step: Step) -> Iterator[Simple]:
    """The step itself, or all that are in its groups."""
    if isinstance(step, RandomOrder):
        for group in step.groups:
            yield from group
    else:
        yield step


def _drawable(weights: Mapping[Any, float], name: str) -> None:
    if sum(weights.values()) <= 0:
        raise ValueError(f"{name}: at least one weight must be above 0")
