"""Settings: strict models, read from TOML, overridden by the command line, written back as TOML."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vsr_pipeline.errors import ConfigError, InputError

_PACKAGE = Path(__file__).parent


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpscaleConfig(_Section):
    """What makes LQ frames into HR frames."""

    model: str = Field("auto", description="a name of `vsr models list`, bicubic-x4, or auto")
    checkpoint: Path | None = Field(None, description="a checkpoint file; takes the place of `model`")
    backend: Literal["torch", "mmedit"] = Field("torch", description="mmedit: the official implementation")
    windows: Literal["exact", "official"] = Field("exact", description="official: hard cuts every max_seq_len frames")
    max_seq_len: int = Field(30, ge=1, description="frames of a window: what the model holds at once")
    lookahead: int = Field(12, ge=0, description="frames after a window that feed backward propagation")
    warm_up: int = Field(12, ge=0, description="frames before a segment that feed forward propagation")
    segment_frames: int = Field(300, ge=1, description="longest part that is computed, and recorded, as one")
    refine_threshold: float = Field(5.0, ge=0, description="clean again while the mean residue (of 255) reaches this")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")


class InputConfig(_Section):
    """What of a source is enhanced, and how it is read."""

    video_stream: int | None = Field(None, ge=0, description="which video stream, counted from 0; else the default one")
    start: str | None = Field(None, description="where to begin, in seconds or as HH:MM:SS.sss of the source's picture")
    end: str | None = Field(None, description="where to end, likewise; that frame is not there any more")
    max_frames: int | None = Field(None, ge=1, description="enhance this many frames at most")
    interlaced: Literal["auto", "bwdif", "keep", "refuse"] = Field(
        "auto", description="auto: bwdif for what is interlaced; keep: as coded; refuse: exit code 3"
    )
    keep_rotation: bool = Field(False, description="enhance the frames as coded, and keep the rotation tag")


class EncodeConfig(_Section):
    """What makes HR frames into a video track."""

    codec: str = Field("h264", description="h264, hevc, av1, prores, ffv1, or a hardware encoder such as h264_nvenc")
    quality: int = Field(72, ge=0, le=100, description="72 is visually lossless, 100 the best that the codec can")
    preset: str | None = Field(None, description="the encoder's speed, in its own words; else its `medium`")
    encoder_options: dict[str, str] = Field({}, description="further options of the encoder, as ffmpeg names them")
    frame_rate: str | None = Field(None, description="force this constant rate: frames are repeated or left out")


class OutputConfig(_Section):
    """What of the source's other streams goes to the output; else all, as they are."""

    transcode_audio: Literal["aac"] | None = Field(None, description="encode sound that the container cannot hold")
    drop: tuple[Literal["audio", "subtitles", "data", "attachments", "covers", "chapters"], ...] = ()


class Config(_Section):
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
        from vsr_pipeline.mmedit_config import read_mmedit_config

        threshold = read_mmedit_config(path).refine_threshold
        return Config().override(refine_threshold=threshold)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
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
    name = f"--{key.replace('_', '-')}" if option_names else ".".join([*path, key])
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]} (found {error['input']!r})"
    model: Any = Config.model_fields[path[0]].annotation if path else Config
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(model.model_fields)}"
    return f"unknown key '{name}': {hint}"


def _toml_value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_value(name)} = {_toml_value(item)}" for name, item in value.items()) + "}"
    # A JSON string is a TOML basic string.
    import json

    return json.dumps(value)
