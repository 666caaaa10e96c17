"""Settings that suit a kind of footage, by name: TOML files of ordinary settings, which ship."""

from pathlib import Path
from typing import Any

from vsr_pipeline.config import Config, default_config_path, load_config
from vsr_pipeline.errors import UsageError

NAMES = ("vhs", "dvd", "phone", "anime", "screen", "archive")
_SIZES = frozenset({"scale", "height", "width"})


def preset_path(name: str) -> Path:
    """Return the file of a preset.

    Raises:
        UsageError: there is no such preset; it may be a word of an encoder, which has another option.
    """
    if name not in NAMES:
        raise UsageError(
            f"--preset {name}: there are {', '.join(NAMES)}, for kinds of footage; the encoder's speed is "
            f"--encoder-preset {name}"
        )
    return default_config_path().parent / "presets" / f"{name}.toml"


def with_preset(config: Config, name: str, options: dict[str, Any]) -> Config:
    """Return settings with those of a preset laid over them, but for a size where the options name another.

    Args:
        config: what the preset is laid over.
        name: of the preset.
        options: those of the command line; they are laid over all this afterwards.

    Raises:
        UsageError: there is no such preset.
    """
    preset = load_config(preset_path(name))
    given = {
        key: value
        for section in Config.model_fields
        for key, value in getattr(preset, section).model_dump(exclude_unset=True).items()
    }
    if any(options.get(size) is not None for size in _SIZES):
        given = {key: value for key, value in given.items() if key not in _SIZES}
    return (without_size(config) if _SIZES & given.keys() else config).override(**given)


def without_size(config: Config) -> Config:
    """Return settings that name no size of the output."""
    return config.model_copy(update={"upscale": config.upscale.model_copy(update=dict.fromkeys(_SIZES))})
