"""Settings that suit a kind of footage, by name: TOML files of ordinary settings, which ship."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsr_pipeline.config import Config, default_config_path, load_config
from vsr_pipeline.errors import UsageError

NAMES = ("vhs", "dvd", "phone", "anime", "screen", "archive")
SIZES = frozenset({"scale", "height", "width"})


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


def settings_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a preset by their names, but for a size where the options name another.

    Args:
        name: of the preset.
        options: those of the command line, by the names of their settings.

    Raises:
        UsageError: there is no such preset.
    """
    preset = load_config(preset_path(name))
    sections = (getattr(preset, section).model_dump(exclude_unset=True) for section in Config.model_fields)
    has_size = any(options.get(size) is not None for size in SIZES)
    return {key: value for section in sections for key, value in section.items() if not (has_size and key in SIZES)}


def with_preset(config: Config, name: str, options: Mapping[str, Any]) -> Config:
    """Return settings with those of a preset laid over them; its size takes the place of theirs. As `settings_of`."""
    given = settings_of(name, options)
    if SIZES & given.keys():
        config = config.model_copy(update={"upscale": config.upscale.model_copy(update=dict.fromkeys(SIZES))})
    return config.override(**given)
