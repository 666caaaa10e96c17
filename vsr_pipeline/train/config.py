"""Settings of a training run: strict models, read from TOML, kept with every checkpoint."""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from vsr_pipeline.config import how_to_write
from vsr_pipeline.degrade.config import DegradationConfig
from vsr_pipeline.errors import ConfigError, InputError

_File = Annotated[Path, Strict(False)]  # in TOML, a text


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(_Section):
    """Where training sequences come from, and how they are cut."""

    folders: tuple[_File, ...] = Field(
        min_length=1, strict=False, description="videos and images, also in folders under these"
    )
    truth_size: int = Field(256, ge=64, multiple_of=4, description="width and height of the truth; LQ is a quarter")
    frames: int = Field(15, ge=1, description="frames that are loaded for a sequence")
    spoiled_frames: int = Field(0, ge=0, description="spoiled as one video, of which `frames` are seen; 0: no more")
    mirror: bool = Field(True, description="append the frames in reverse: twice as long for the same loading")
    flips: bool = Field(True, description="flip and transpose at random")
    still_shrink: tuple[float, float] = Field(
        (1.5, 4.0), strict=False, description="pixels of an image for one of the truth"
    )
    video_shrink: tuple[float, float] = Field(
        (1.0, 2.0), strict=False, description="pixels of a video for one of the truth"
    )
    video_share: float = Field(0.3, ge=0, le=1, description="sequences from videos, where there are images, too")
    saturation: tuple[float, float] = Field(
        (1.0, 1.0), strict=False, description="factor on the truth's colour, drawn for each sequence"
    )
    candidates: int = Field(1, ge=1, description="places drawn for a sequence; that with most detail is cut")
    cache_gib: float = Field(2.0, gt=0, description="memory of each worker for decoded pictures")

    @property
    def read_frames(self) -> int:
        """How many consecutive frames a sequence needs."""
        return max(self.frames, self.spoiled_frames)

    @model_validator(mode="after")
    def _one_way_to_lengthen(self) -> Self:
        if self.mirror and self.spoiled_frames:
            raise ValueError("a mirrored sequence is spoiled whole: spoiled_frames needs mirror = false")
        if 0 < self.spoiled_frames < self.frames:
            raise ValueError(f"spoiled_frames {self.spoiled_frames} are fewer than frames {self.frames}")
        return self

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in ("still_shrink", "video_shrink"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(
                    f"{name} [{low}, {high}] must be ascending and at least 1: enlarged truth is not sharp"
                )
        if not 0 <= self.saturation[0] <= self.saturation[1]:
            raise ValueError(f"saturation {list(self.saturation)} must be ascending and at least 0")
        return self


class ModelConfig(_Section):
    """The network: what it starts from, and its sizes where that does not say."""

    init: str | None = Field(None, description="a model's name or a checkpoint file to start from")
    flow_from: str | None = Field(None, description="likewise, only its SPyNet is taken; the rest starts at random")
    cleaning_from: str | None = Field(None, description="likewise, its first cleaning blocks, of as many channels")
    mid_channels: int = Field(64, ge=1)
    propagation_blocks: int = Field(20, ge=1)
    cleaning_channels: int | None = Field(None, ge=1, description="else as many as mid_channels")
    cleaning_blocks: int = Field(20, ge=1)
    reconstruction_channels: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None, strict=False, description="at twice and four times the LQ size; else mid_channels and 64"
    )
    flow_levels: int = Field(6, ge=1, le=6, description="of SPyNet: with 5, flow is computed at half the size")


class LossConfig(_Section):
    """Weights of the losses; what weighs 0 is not computed."""

    kind: Literal["l1", "charbonnier", "psnr"] = "l1"
    output: float = Field(1.0, ge=0, description="HR frames against the truth")
    chroma: float = Field(0.0, ge=0, description="colour differences (Cb, Cr) of HR frames against the truth's")
    cleaning: float = Field(1.0, ge=0, description="cleaned frames against the truth at a quarter of its size")
    sharpen: bool = Field(True, description="sharpen the truth of the output loss and what the LQ frames are made of")
    sharpen_spoiled: float = Field(
        0.0,
        ge=0,
        description="sharpen the output's truth alone, by this for each 100 of the LQ frames' mean squared error",
    )
    perceptual: float = Field(0.0, ge=0, description="features of HR frames against those of the truth")
    perceptual_network: Literal["vgg19", "efficientnet-lite0"] = Field(
        "vgg19", description="whose features; efficientnet-lite0 comes from the extra `perceptual`"
    )
    perceptual_weights: _File | None = Field(None, description="VGG19's state dict, in torchvision's names")
    gan: float = Field(0.0, ge=0, description="the discriminator's opinion of HR frames")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.perceptual > 0 and self.perceptual_network == "vgg19" and self.perceptual_weights is None:
            raise ValueError("perceptual > 0 needs perceptual_weights, a file of VGG19's weights")
        if self.output + self.cleaning <= 0:
            raise ValueError("one of output and cleaning must be above 0")
        if self.sharpen and self.sharpen_spoiled > 0:
            raise ValueError("sharpen is for all sequences, sharpen_spoiled for spoiled ones: give one of them")
        return self

    @property
    def upscales(self) -> bool:
        """Whether HR frames are needed; else only the cleaning module runs."""
        return self.output > 0 or self.perceptual > 0 or self.gan > 0


class TeacherConfig(_Section):
    """A slower model whose output is learnt in the place of the truth."""

    model: str = Field("realbasicvsr-open-x4", description="a name of `vsr models list` of scale 4")
    refine: str = Field("none", description="as `vsr run --refine`: MODEL:SHARE")
    sequences: int = Field(400, ge=1, description="so many are computed, once; iterations see them flipped and turned")
    clean_share: float = Field(0.0, ge=0, le=1, description="of sequences that the teacher sees unspoiled")
    frames: int | None = Field(
        None, ge=1, description="in the middle of each sequence, that it is asked for and that are learnt; none: all"
    )
    truth_share: float = Field(0.0, ge=0, le=1, description="of the truth in what is learnt; the rest is the teacher's")
    folder: _File | None = Field(None, description="where its output is kept; else `teacher` in the output folder")


class TrainConfig(_Section):
    """How it is optimised, and what is kept."""

    iterations: int = Field(300_000, ge=1)
    max_minutes: float | None = Field(None, gt=0, description="ends before `iterations` when this time is up")
    batch: int = Field(2, ge=1, description="sequences a step, in each process")
    part: Literal["all", "cleaning"] = Field("all", description="what is trained; SPyNet never is")
    learning_rate: float = Field(1e-4, gt=0)
    cleaning_rate: float = Field(1.0, gt=0, description="factor on it for the cleaning module")
    discriminator_rate: float = Field(1e-4, gt=0)
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine: to 1/100 of it at the end")
    warm_up: int = Field(0, ge=0, description="first iterations, over which the learning rate rises from 0")
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="auto: bf16 where its convolutions were measured to be faster by a tenth"
    )
    device: str = "auto"
    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1, description="CPU threads of the network")
    workers: int = Field(1, ge=0, description="processes that prepare data")
    log_every: int = Field(20, ge=1)
    checkpoint_every: int = Field(1000, ge=1)


class ValidationConfig(_Section):
    """Fixed clips that are scored while training."""

    every: int = Field(1000, ge=1)
    clips: int = Field(0, ge=0, description="how many; 0: no validation")
    folders: tuple[_File, ...] = Field(
        (), strict=False, description="else the data's; then they show the fit, not the generality"
    )


class RunConfig(_Section):
    """All settings of a training run."""

    data: DataConfig
    degradation: DegradationConfig = DegradationConfig()
    model: ModelConfig = ModelConfig()
    losses: LossConfig = LossConfig()
    teacher: TeacherConfig | None = None
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.losses.gan > 0 and not self.losses.output > 0:
            raise ValueError("losses.gan without losses.output has nothing to hold on to")
        if self.teacher is not None and not self.losses.upscales:
            raise ValueError("a teacher gives HR frames: one of losses.output and losses.perceptual must be above 0")
        if self.teacher is not None and (self.teacher.frames or 0) > self.data.frames:
            raise ValueError(f"teacher.frames {self.teacher.frames}: a sequence has {self.data.frames} frames")
        if not self.losses.upscales and self.train.part == "all":
            raise ValueError("train.part = 'all' needs a loss on HR frames; with losses.cleaning alone say 'cleaning'")
        return self

    def to_json(self) -> str:
        """Return the settings as JSON that `model_validate_json` reads back as they are."""
        return self.model_dump_json(exclude_none=True)

    def with_minutes(self, minutes: float | None) -> "RunConfig":
        """Return a copy with another time limit, where one is given.

        Raises:
            ConfigError: it is not positive.
        """
        if minutes is None:
            return self
        if minutes <= 0:
            raise ConfigError(f"--minutes {minutes:g}: give a number above 0")
        return self.model_copy(update={"train": self.train.model_copy(update={"max_minutes": minutes})})


def load_run_config(path: Path) -> RunConfig:
    """Read the settings of a training run.

    Raises:
        InputError: the file cannot be read.
        ConfigError: a key is unknown or a value is not allowed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from error


# What may change between a run and its continuation: the rest decides what has been trained so far.
_FREE = {
    "train": {"iterations", "max_minutes", "threads", "workers", "log_every", "checkpoint_every", "device"},
    "validation": set(ValidationConfig.model_fields),
    "data": {"cache_gib"},
}


def differences(before: str, now: RunConfig) -> list[str]:
    """Name the settings that a run may not change on its way, as `section.key`.

    Args:
        before: what `to_json` gave when the run began.
        now: the settings to continue with.
    """
    old, new = json.loads(before), json.loads(now.to_json())
    # A setting that is newer than the run had, without a name, the effect of what is now its default.
    defaults = json.loads(RunConfig(data=DataConfig(folders=now.data.folders)).to_json())
    old = {section: defaults.get(section, {}) | old.get(section, {}) for section in RunConfig.model_fields}
    new = {section: new.get(section, {}) for section in RunConfig.model_fields}
    return [
        f"{section}.{key}"
        for section in RunConfig.model_fields
        for key in sorted(old[section].keys() | new[section].keys())
        if key not in _FREE.get(section, set()) and old[section].get(key) != new[section].get(key)
    ]


def _explain(error: Any) -> str:  # noqa: ANN401
    """Say in a few words what pydantic found, where, and what is allowed."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        found = "" if isinstance(error["input"], dict) else f" (found {error['input']!r})"
        return f"{where + ': ' if where else ''}{message}{found}{how_to_write(error)}"
    *path, key = (str(part) for part in error["loc"])
    model: Any = RunConfig
    if path:
        model = RunConfig.model_fields[path[0]].annotation if len(path) == 1 else None
    if model is None:
        return f"unknown key '{where}'"
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(model.model_fields)}"
    return f"unknown key '{where}': {hint}"
