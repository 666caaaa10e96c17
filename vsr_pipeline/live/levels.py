"""The levels that the controller goes through: input width, then a smaller model, then interpolation."""

from collections.abc import Callable
from dataclasses import dataclass

from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.clip.geometry import Geometry, Size
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import UsageError
from vsr_pipeline.timeline import VideoInfo

INTERPOLATION = "bicubic"
# Each takes about half the time of the one before it.
_WIDTHS = (1.0, 0.75, 0.5)
_SMALLEST_SIDE = 16


@dataclass(frozen=True, slots=True)
class Level:
    """One way to make the output: a model, and what size of input it sees."""

    spec: ModelSpec
    geometry: Geometry
    """`reduced_size` is what the model sees, `model_size` what it gives; `output_size` is the same on all levels."""

    @property
    def name(self) -> str:
        """For people."""
        width, height = self.geometry.reduced_size
        return f"{self.spec.name} at {width}x{height}"


def geometry_for(info: VideoInfo, spec: ModelSpec, settings: UpscaleConfig, input_width: int | None) -> Geometry:
    """Return the sizes of the best level; those of the output hold for all.

    Raises:
        UsageError: the output would be smaller than the source.
    """
    width = info.display_size[0]
    shrink = max(1.0, width / input_width) if input_width else 1.0
    return Geometry.of(info, spec.sizing, settings.model_copy(update={"shrink_input": shrink}), even=True)


def levels_for(
    spec: ModelSpec, settings: UpscaleConfig, geometry: Geometry, open_other: Callable[[UpscaleConfig], ModelSpec]
) -> tuple[Level, ...]:
    """Return the levels from the best to the cheapest one.

    Args:
        spec: the model that is asked for.
        settings: those that it was opened with.
        geometry: of the best level.
        open_other: opens another model.
    """
    if spec.sizing.is_any:
        return (Level(spec, geometry),)
    sizes = dict.fromkeys(_reduced(geometry.reduced_size, share) for share in _WIDTHS)
    levels = [Level(spec, _sized(geometry, spec, size)) for size in sizes]
    plain = UpscaleConfig(device=settings.device, strength=settings.strength, memory_limit=settings.memory_limit)
    smaller = smaller_model(spec.name, spec.scale)
    if smaller is not None:
        other = open_other(plain.model_copy(update={"model": smaller}))
        levels.append(Level(other, _sized(geometry, other, levels[-1].geometry.reduced_size)))
    other = open_other(plain.model_copy(update={"model": INTERPOLATION}))
    return (*levels, Level(other, _sized(geometry, other, geometry.reduced_size)))


def smaller_model(name: str, scale: int) -> str | None:
    """Return the frame model of this scale that is here and has the fewest weights; None: that is the one named."""
    known = [e for e in manifest.load_manifest() if e.kind == "frame" and e.scale == scale and manifest.is_here(e)]
    sized = [(path.stat().st_size, entry.name) for entry in known if (path := manifest.locate(entry))]
    smallest = min(sized, default=None)
    return None if smallest is None or smallest[1] == name else smallest[1]


def open_live_model(settings: UpscaleConfig) -> ModelSpec:
    """Open a model that can give frames while they come.

    Raises:
        UsageError: it needs minutes for each shot.
        ModelError, ResourceError: as `open_model`.
    """
    spec = open_model(settings)
    if spec.context.decides_slowly:
        raise UsageError(f"{spec.name} trains a network for minutes before the first frame: choose another model")
    return spec


def live_settings(settings: UpscaleConfig, lookahead: int) -> UpscaleConfig:
    """Return settings with which recurrent models give each frame as soon as its lookahead has come."""
    return settings.model_copy(update={"max_seq_len": 1, "lookahead": lookahead, "windows": "exact"})


def _reduced(size: Size, share: float) -> Size:
    width, height = (max(min(side, _SMALLEST_SIDE), round(side * share)) for side in size)
    return width, height


def _sized(geometry: Geometry, spec: ModelSpec, reduced: Size) -> Geometry:
    natural = (spec.scale * reduced[0], spec.scale * reduced[1])
    model = geometry.output_size if spec.sizing.is_any else natural
    return Geometry(geometry.input_size, reduced, model, geometry.output_size, geometry.sample_aspect_ratio)
