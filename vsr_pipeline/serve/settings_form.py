"""The form in which settings are chosen: for new clips, for a clip that is made again."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vsr_pipeline.checkpoints.manifest import choose_auto, is_here, load_manifest
from vsr_pipeline.config_text import seconds_from
from vsr_pipeline.errors import ModelError, UsageError
from vsr_pipeline.jobs.batch.chosen import check_chosen
from vsr_pipeline.serve.pages import Settings

SCALES = ("1.5", "2", "3", "4")
HEIGHTS = (720, 1080, 1440, 2160)
CODECS = ("h264", "hevc", "av1", "prores", "ffv1")
PRESETS = ("ultrafast", "veryfast", "fast", "slow", "veryslow")
_NUMBERS = ("strength", "cleaning")
_TEXTS = ("codec", "preset", "start", "end", "faces")
FIELDS = ("model", "size", "quality", *_NUMBERS, *_TEXTS)
ALLOWED = (
    *("model", "scale", "height", "width", "shrink_input", "strength", "cleaning", "denoise", "detail", "refine"),
    *("faces", "face_strength", "tile", "codec", "quality", "preset", "frame_rate", "start", "end", "max_frames"),
    *("interlaced", "video_stream", "keep_rotation", "skip_duplicates", "transcode_audio", "drop"),
)
"""Settings that may come from a browser or a program: those that name files, here or for the encoder, may not."""
_TALLEST_BY_ITSELF = 2160


def settings_form(values: Mapping[str, str], *, source_height: int = 0) -> Settings:
    """Return the form.

    Args:
        values: what was chosen so far.
        source_height: of the first clip that it is for, from which a size is proposed; 0: not known.
    """
    auto = ""
    with suppress(ModelError):
        auto = choose_auto().name
    proposed = f"h{_TALLEST_BY_ITSELF}" if source_height * 4 > _TALLEST_BY_ITSELF else ""
    return Settings(
        models=models_here(),
        auto_model=auto,
        scales=SCALES,
        heights=HEIGHTS,
        codecs=CODECS,
        presets=PRESETS,
        has_faces=can_restore_faces(),
        values={"size": proposed, "quality": "72", **{name: values[name] for name in FIELDS if name in values}},
        proposed_size=proposed,
    )


def models_here() -> tuple[str, ...]:
    """Return the names of the models that can be used now."""
    return tuple(entry.name for entry in load_manifest() if entry.kind != "face" and is_here(entry))


def can_restore_faces() -> bool:
    """Whether weights for faces are here."""
    return any(entry.kind == "face" and is_here(entry) for entry in load_manifest())


def chosen_from(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that a form says, as the queue takes them; what is empty is not chosen.

    Raises:
        UsageError: a number is none.
    """
    given = {name: form.get(name, "").strip() for name in FIELDS}
    chosen: dict[str, Any] = {name: given[name] for name in _TEXTS if given[name]}
    if given["model"] not in ("", "auto"):
        chosen["model"] = given["model"]
    try:
        if given["quality"] not in ("", "72"):
            chosen["quality"] = int(given["quality"])
        chosen |= {name: float(given[name]) for name in _NUMBERS if given[name]}
        if given["size"].startswith("h"):
            chosen["height"] = int(given["size"][1:])
        elif given["size"].startswith("x"):
            chosen["scale"] = float(given["size"][1:])
    except ValueError as error:
        raise UsageError(f"a number is wanted: {error}") from error
    return chosen


def moment_from(form: Mapping[str, str]) -> str:
    """Return the moment `at` of a form, as it was typed; "" where there is none.

    Raises:
        UsageError: it is no time.
    """
    at = form.get("at", "").strip()
    if at:
        try:
            seconds_from(at)
        except ValueError as error:
            raise UsageError(f"the moment {error}") from error
    return at


def refuse_others(chosen: Mapping[str, Any]) -> None:
    """Refuse settings that may not come from elsewhere, and those that no batch could work with.

    Raises:
        UsageError, ConfigError, ModelError: a setting cannot be meant.
    """
    for name in chosen:
        if name not in ALLOWED:
            raise UsageError(f"'{name}' is no setting that can be given here: allowed are {', '.join(ALLOWED)}")
    check_chosen(chosen)


def form_from(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return what a form shows for settings that were chosen."""
    values = {name: str(value) for name, value in chosen.items() if name in FIELDS}
    if "height" in chosen:
        values["size"] = f"h{chosen['height']}"
    elif "scale" in chosen:
        values["size"] = f"x{chosen['scale']:g}"
    return {**values, "size": values.get("size", "")}


def kept_settings(before: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a form with those that were chosen before and that no form shows."""
    hidden = {name: value for name, value in before.items() if name not in form_from({name: value})}
    return {name: value for name, value in hidden.items() if name not in ("scale", "height", "width")} | dict(chosen)


def as_words(chosen: Mapping[str, Any]) -> str:
    """Return chosen settings as the command line has them."""
    return " ".join(f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in chosen.items())
