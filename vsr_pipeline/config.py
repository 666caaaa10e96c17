"""Settings: strict models, read from TOML, overridden by the command line, written back as TOML."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from vsr_pipeline.config_section import Section
from vsr_pipeline.config_steps import refine_from
from vsr_pipeline.config_text import frame_rate_from, memory_bytes_from, seconds_from
from vsr_pipeline.config_zssr import ZssrConfig
from vsr_pipeline.errors import ConfigError, InputError

_PACKAGE = Path(__file__).parent
# Options of the command line that are not called as their settings are.
_OPTION_OF = {"frame_rate": "fps", "encoder_options": "encoder-option", "preset": "encoder-preset"}
_QUALITY = "give quality = 0 to 100 in [encode] (72 is about crf {crf}), or encoder_options = {{{key} = ...}}"
# What other programs call the settings here, and what to write instead.
_WORDS_OF_OTHERS = {
    **{key: _QUALITY.format(crf=14, key=key) for key in ("crf", "qp", "cq")},
    "bitrate": "give quality = 0 to 100 in [encode], which is constant, as the bit rate is not",
    "fps": 'give frame_rate = "25" in [encode]',
    "vcodec": "give codec in [encode]",
    "encoder": "give codec in [encode]",
    "acodec": 'give transcode_audio = "aac" in [output]',
    "audio_codec": 'give transcode_audio = "aac" in [output]',
    "gpu": 'give device = "cuda:0" in [upscale]',
    "half": 'give precision = "fp16" or "bf16" in [upscale]',
    "fp16": 'give precision = "fp16" in [upscale]',
    "tile_size": "give tile in [upscale]",
    "outscale": "give scale in [upscale]",
}
_DEVICE = re.compile(r"auto|cpu(,cpu)*|cuda(:[0-9]+(,(cuda:)?[0-9]+)*)?|mps")

SMALLEST_TILE = 32
"""LQ pixels; below that, nearly all the work would be overlap."""

MEANS = frozenset({"upscale.memory_limit", "upscale.cuda_graphs", "upscale.alpha"})
"""Settings, by their dotted names, that change no frame of a video: how frames are made, and what images alone have."""

LATER: Mapping[str, object] = {
    "upscale.refine": "none",
    "upscale.faces": "off",
    "upscale.face_strength": 0.5,
    "upscale.detail": 1.0,
}
"""Settings that jobs of older versions did not have, with their defaults, at which they change nothing."""


class UpscaleConfig(Section):
    """What makes LQ frames into HR frames."""

    model: str = Field("auto", description="a name of `vsr models list`, or auto")
    checkpoint: Path | None = Field(None, strict=False, description="a checkpoint file; takes the place of `model`")
    backend: Literal["torch", "mmedit"] = Field("torch", description="mmedit: the official implementation")
    windows: Literal["exact", "official"] = Field("exact", description="official: hard cuts every max_seq_len frames")
    max_seq_len: int = Field(30, ge=1, description="frames of a window: what the model holds at once")
    lookahead: int = Field(12, ge=0, description="frames after a window that feed backward propagation")
    warm_up: int = Field(12, ge=0, description="frames before a segment that feed forward propagation")
    segment_frames: int = Field(300, ge=1, description="longest part that is computed, and recorded, as one")
    refine_threshold: float = Field(5.0, ge=0, description="clean again while the mean residue (of 255) reaches this")
    precision: Literal["auto", "fast", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="auto: the fastest of 50 dB against fp32, measured once; fast: of 45 dB"
    )
    convolutions: Literal["auto", "direct", "winograd"] = Field(
        "auto",
        description="winograd: for fp32 on a CPU with ncnn installed; auto: where that was measured to be faster",
    )
    scale: float | None = Field(None, gt=0, le=32, strict=False, description="how many times larger the sides get")
    height: int | None = Field(None, ge=2, description="of the output in pixels; the width follows")
    width: int | None = Field(None, ge=2, description="of the output in pixels; the height follows")
    shrink_input: float = Field(1.0, ge=1, le=32, strict=False, description="reduce the source first, by this factor")
    tile: int | Literal["auto"] = Field(
        "auto", description="largest side of the parts that a frame model sees at once; 0: whole frames"
    )
    strength: float = Field(1.0, ge=0, le=1, strict=False, description="share of the model; the rest is interpolated")
    refine: str = Field("none", description="a frame model over the result at half its size, MODEL or MODEL:SHARE")
    faces: Literal["off", "detect", "gfpgan"] = Field("off", description="detect: report them; gfpgan: restore them")
    face_strength: float = Field(0.5, ge=0, le=1, strict=False, description="share of a restored face")
    cleaning: float | Literal["auto"] = Field(
        "auto",
        description="share of what RealBasicVSR's cleaning changes, 0 to 1; auto: measured for each shot, for our own "
        "models, else 1",
    )
    denoise: float = Field(1.0, ge=0, le=1, strict=False, description="of realesr-general-x4v3: 0 keeps noise")
    detail: float = Field(
        1.0, ge=0, le=1, strict=False, description="of realbasicvsr-open-detail-x4: 0 is realbasicvsr-open-x4"
    )
    alpha: Literal["net", "bicubic"] = Field(
        "net", description="what enlarges the transparency of images: the model, as a grey picture, or interpolation"
    )
    zssr_steps: int = Field(3000, ge=1, le=1_000_000, strict=False, description="of zssr: the most steps of a training")
    kernel: Path | None = Field(None, strict=False, description="of zssr: a file with the blur of the reduction")
    zssr: ZssrConfig = Field(ZssrConfig(), description="of zssr: the network and its training")
    cuda_graphs: bool = Field(True, description="on a GPU, launch the steps for small frames as CUDA graphs")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; cuda:0,1: a process on each")
    memory_limit: str | None = Field(None, description="the most memory to take, such as 6GB; else what is free")

    @field_validator("device")
    @classmethod
    def _is_device(cls, name: str) -> str:
        if not _DEVICE.fullmatch(name):
            raise ValueError("must be auto, cpu, cuda, cuda:N, cuda:N,M,... or mps")
        return name

    @field_validator("refine")
    @classmethod
    def _is_refinement(cls, text: str) -> str:
        refine_from(text)
        return text

    @field_validator("tile", mode="before")
    @classmethod
    def _is_tile(cls, side: object) -> object:
        side = int(side) if isinstance(side, str) and side.isdecimal() else side
        if side != "auto" and not (isinstance(side, int) and (side == 0 or side >= SMALLEST_TILE)):
            raise ValueError(f"must be auto, 0 (whole frames), or at least {SMALLEST_TILE}")
        return side

    @field_validator("cleaning", mode="before")
    @classmethod
    def _is_share(cls, share: object) -> object:
        if share == "auto":
            return share
        try:
            number = float(share)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(share, bool) or not 0 <= number <= 1:
            raise ValueError("must be auto, or from 0 to 1")
        return number

    @field_validator("width")
    @classmethod
    def _is_one_size(cls, width: int | None, others: ValidationInfo) -> int | None:
        given = [name for name in ("scale", "height") if others.data.get(name) is not None]
        if given and width is not None:
            raise ValueError(f"must not be given with --{given[0]}: the other side follows")
        return width

    @field_validator("height")
    @classmethod
    def _is_no_scale(cls, height: int | None, others: ValidationInfo) -> int | None:
        if height is not None and others.data.get("scale") is not None:
            raise ValueError("must not be given with --scale: give one of them")
        return height

    @field_validator("memory_limit")
    @classmethod
    def _is_memory(cls, text: str | None) -> str | None:
        if text is not None:
            memory_bytes_from(text)
        return text

    @property
    def refine_with(self) -> tuple[str, float] | None:
        """The name of the model that refines, and its share, 0 to 1."""
        return refine_from(self.refine)

    @property
    def has_net_steps(self) -> bool:
        """Whether a network computes after the model."""
        return self.refine_with is not None or self.faces == "gfpgan"

    @property
    def memory_limit_bytes(self) -> int | None:
        """The most memory to take, of the GPU or of a process that computes on the CPU; None: what is free."""
        return memory_bytes_from(self.memory_limit) if self.memory_limit is not None else None


class InputConfig(Section):
    """What of a source is enhanced, and how it is read."""

    video_stream: int | None = Field(None, ge=0, description="which video stream, counted from 0; else the default one")
    start: str | None = Field(None, description="where to begin, in seconds or as HH:MM:SS.sss of the source's picture")
    end: str | None = Field(None, description="where to end, likewise; that frame is not there any more")
    max_frames: int | None = Field(None, ge=1, description="enhance this many frames at most")
    interlaced: Literal["auto", "bwdif", "bwdif-double", "keep", "refuse"] = Field(
        "auto",
        description="auto: bwdif for what is interlaced; bwdif-double: so, and a frame for each field (50i to 50p); "
        "keep: as coded; refuse: exit code 3",
    )
    keep_rotation: bool = Field(False, description="enhance the frames as coded, and keep the rotation tag")
    dolby_vision: Literal["refuse", "ignore"] = Field(
        "refuse", description="of a base layer with colours of its own (profile 5); ignore: as coded, wrong colours"
    )
    skip_duplicates: bool = Field(True, description="do not compute frames again that are equal to the one before them")

    @field_validator("start", "end")
    @classmethod
    def _is_time(cls, text: str | None, others: ValidationInfo) -> str | None:
        if text is not None:
            seconds = seconds_from(text)
            start = others.data.get("start")
            if others.field_name == "end" and seconds <= seconds_from(start or "0"):
                raise ValueError(f"must be after the start, {start or 0}")
        return text

    @property
    def start_seconds(self) -> Fraction | None:
        """When the part that is enhanced begins; None: with the first frame."""
        return seconds_from(self.start) if self.start is not None else None

    @property
    def end_seconds(self) -> Fraction | None:
        """When the part that is enhanced ends; None: with the last frame."""
        return seconds_from(self.end) if self.end is not None else None

    @property
    def is_part(self) -> bool:
        """Whether less than the whole source may be meant."""
        return self.start is not None or self.end is not None or self.max_frames is not None


class EncodeConfig(Section):
    """What makes HR frames into a video track."""

    codec: str = Field(
        "auto", description="h264, hevc, av1, prores, ffv1, or a hardware encoder; auto: h264, and hevc for HDR"
    )
    quality: int = Field(72, ge=0, le=100, description="72 is visually lossless, 100 the best that the codec can")
    preset: str | None = Field(None, description="the encoder's speed, in its own words; else its `medium`")
    encoder_options: dict[str, str] = Field({}, description="further options of the encoder, as ffmpeg names them")
    frame_rate: str | None = Field(None, description="force this constant rate: frames are repeated or left out")

    @field_validator("encoder_options", mode="before")
    @classmethod
    def _as_text(cls, options: object) -> object:
        if not isinstance(options, dict):
            return options
        is_number = {name: type(value) in (int, float) for name, value in options.items()}
        return {name: str(value) if is_number[name] else value for name, value in options.items()}

    @field_validator("frame_rate")
    @classmethod
    def _is_rate(cls, text: str | None) -> str | None:
        if text is not None:
            frame_rate_from(text)
        return text

    @property
    def constant_rate(self) -> Fraction | None:
        """Frames per second that are forced; None: the source's own times."""
        return frame_rate_from(self.frame_rate) if self.frame_rate is not None else None


class OutputConfig(Section):
    """What of the source's other streams goes to the output; else all, as they are."""

    transcode_audio: Literal["aac"] | None = Field(None, description="encode sound that the container cannot hold")
    drop: tuple[Literal["audio", "subtitles", "data", "attachments", "covers", "chapters"], ...] = Field(
        (), strict=False, description="kinds of streams that are left out"
    )


class Config(Section):
    """All settings of a run."""

    input: InputConfig = InputConfig()
    upscale: UpscaleConfig = UpscaleConfig()
    encode: EncodeConfig = EncodeConfig()
    output: OutputConfig = OutputConfig()

    def override(self, **options: Any) -> "Config":  # noqa: ANN401
        """Return a copy with the options that are not None set, wherever they belong.

        Raises:
            ConfigError: a value is not allowed; the message names the command line's option.
        """
        given = {name: value for name, value in options.items() if value is not None}
        sections = {}
        for section in type(self).model_fields:
            settings = getattr(self, section)
            mine = {name: given.pop(name) for name in list(given) if name in type(settings).model_fields}
            sections[section] = settings.model_dump() | mine
        assert not given, f"no setting is called {', '.join(given)}"
        return _validated(sections, option_names=True)

    def to_toml(self) -> str:
        """Return a file that `load_config` reads back as this; unset values are left out."""
        lines = []
        for section, values in self.model_dump(mode="json", exclude_none=True).items():
            lines += [f"[{section}]", *(f"{name} = {_toml_value(value)}" for name, value in values.items()), ""]
        return "\n".join(lines)


def default_config_path() -> Path:
    """Return `configs/realbasicvsr_x4.toml` of the checkout, or of the installed package."""
    packaged = _PACKAGE / "_data" / "configs"
    folder = packaged if packaged.is_dir() else _PACKAGE.parent / "configs"
    return folder / "realbasicvsr_x4.toml"


def load_config(path: Path) -> Config:
    """Read settings from a TOML file, or from an official mmedit config (`.py`, which is read, not executed).

    Raises:
        InputError: the file cannot be read.
        ConfigError: a key is unknown or a value is not allowed.
    """
    if path.suffix == ".py":
        from vsr_pipeline.mmedit_config import read_refine_threshold

        threshold = read_refine_threshold(path)
        return Config().override(refine_threshold=threshold)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return _validated(values, where=f"{path}: ")


def _validated(values: dict[str, Any], *, where: str = "", option_names: bool = False) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(where + "; ".join(_explain(e, option_names) for e in error.errors())) from error


def _explain(error: Any, option_names: bool) -> str:  # noqa: ANN401
    """Say in a few words what pydantic found, where, and what is allowed."""
    *path, key = (str(part) for part in error["loc"])
    if option_names:
        # Of what has several parts, the path goes on with the part: `output.drop.0`.
        option = str(error["loc"][1]) if path else key
        name = f"--{_OPTION_OF.get(option, option).replace('_', '-')}"
    else:
        name = ".".join([*path, key])
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{name}: {message[0].lower()}{message[1:]} (found {error['input']!r}){how_to_write(error)}"
    return f"unknown key '{name}': {_hint(path, key)}"


def how_to_write(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """Say how a value of the wrong type is written in TOML; nothing where the type is not what is wrong."""
    kind, value = error["type"], error["input"]
    if isinstance(value, str) and kind in ("int_type", "float_type", "bool_type"):
        return ": write it without quotation marks"
    if kind == "string_type":
        return ": write it in quotation marks"
    if kind == "tuple_type":
        return ": write a list in square brackets"
    return ""


def _hint(path: list[str], key: str) -> str:
    """Say what an unknown key may mean: a misspelt one, one of another section, or a word of another program."""
    model: Any = Config
    for part in path:
        model = model.model_fields[part].annotation
    for section, field in Config.model_fields.items():
        known: Any = field.annotation
        if key in known.model_fields:
            return f"it belongs in the section [{section}]"
    if key in _WORDS_OF_OTHERS:
        return _WORDS_OF_OTHERS[key]
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(model.model_fields)}"


def _toml_value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_value(name)} = {_toml_value(item)}" for name, item in value.items()) + "}"
    # A JSON string is a TOML basic string.
    import json

    return json.dumps(value)
