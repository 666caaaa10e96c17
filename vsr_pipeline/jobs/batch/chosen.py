"""Settings of one clip of a batch: what was chosen for it over what the batch says."""

from collections.abc import Mapping
from typing import Any

from vsr_pipeline.checkpoints.manifest import refuse_unknown
from vsr_pipeline.config import Config
from vsr_pipeline.errors import UsageError
from vsr_pipeline.media.write.codecs import find_codec

_OF_THE_BATCH = ("device", "memory_limit")
"""Settings of the machine, and not of a clip."""
_INSTEAD = ({"scale", "height", "width"}, {"model", "checkpoint"})
"""Of each of these groups, what is chosen for a clip takes the place of all that the batch says."""


def config_for(batch: Config, chosen: Mapping[str, Any]) -> Config:
    """Return the settings of a clip.

    Args:
        batch: those of the batch.
        chosen: as in `QueueRow`.

    Raises:
        ConfigError: a value is not allowed.
        UsageError: a name is none of a setting, or one of a setting that is the batch's alone.
    """
    if not chosen:
        return batch
    known = [name for section in Config.model_fields for name in type(getattr(batch, section)).model_fields]
    for name in chosen:
        if name not in known or name in _OF_THE_BATCH:
            why = "is for a whole batch" if name in known else "is no setting"
            allowed = ", ".join(name for name in known if name not in _OF_THE_BATCH)
            raise UsageError(f"'{name}' {why}: settings of a clip are {allowed}")
    defaults = type(batch.upscale)()
    replaced = [name for group in _INSTEAD if group & chosen.keys() for name in group]
    upscale = batch.upscale.model_copy(update={name: getattr(defaults, name) for name in replaced})
    return batch.model_copy(update={"upscale": upscale}).override(**chosen)


def check_chosen(chosen: Mapping[str, Any]) -> None:
    """Refuse settings of a clip that no batch could work with.

    Raises:
        UsageError, ConfigError: as `config_for`; or there is no such codec.
        ModelError: there is no such model.
    """
    config = config_for(Config(), chosen)
    refuse_unknown(config.upscale.model, config.upscale.checkpoint, must_be_here=False)
    find_codec(config.encode.codec)
