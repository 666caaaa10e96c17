"""The settings that each clip of a batch is made with, and whether they are others than those that it was made with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vsr_pipeline.checkpoints.manifest import weights_identity
from vsr_pipeline.clip.geometry import size_label
from vsr_pipeline.config import MEANS, Config
from vsr_pipeline.config_zssr import OF_OTHER_MODELS
from vsr_pipeline.enhance.open_model import sizing_of
from vsr_pipeline.jobs.batch.chosen import config_for
from vsr_pipeline.jobs.batch.discovery import check_template
from vsr_pipeline.jobs.batch.rows import QueueRow

NAME = "name"


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What a clip is made with."""

    config: Config
    name_template: str
    """Of its output; `{size}` is what the settings say: `x4`, `1080p`."""
    recorded: Mapping[str, str]
    """As `QueueRow.settings`."""


class BatchSettings:
    """The settings of a batch, and from them those of each clip.

    Args:
        config: those of the batch.
        name_template: as `BatchOptions` has it.

    Raises:
        UsageError: the template is no name of a file.
        ModelError: the model is unknown, or its file is missing or damaged.
    """

    def __init__(self, config: Config, name_template: str) -> None:
        check_template(name_template)
        self._config = config
        self._name_template = name_template
        self._known: dict[str, ClipSettings] = {}
        self.common = self.of({})
        """Of clips that have none of their own."""

    def of(self, chosen: Mapping[str, Any]) -> ClipSettings:
        """Return the settings of a clip; torch is not loaded.

        Args:
            chosen: as `QueueRow.chosen`.

        Raises:
            UsageError, ConfigError: a setting is none, or a value is not allowed.
            ModelError: the model is unknown, or its file is missing or damaged.
        """
        key = json.dumps(dict(chosen), sort_keys=True)
        if key not in self._known:
            config = config_for(self._config, chosen)
            template = self._name_template
            if "{size}" in template:
                template = template.replace("{size}", size_label(config.upscale, sizing_of(config.upscale)))
            self._known[key] = ClipSettings(config, template, settings_of(config, template))
        return self._known[key]


def settings_of(config: Config, name_template: str) -> dict[str, str]:
    """Return what the outputs depend on besides their sources, under dotted names.

    The device is left out, so that a batch may move to another GPU, and so is the program's version, so that an update
    does not make a whole archive look old.
    """
    fields = {NAME: name_template, "weights": weights_identity(config.upscale.model, config.upscale.checkpoint)}
    if (refine := config.upscale.refine_with) is not None:
        fields["refine_weights"] = weights_identity(refine[0], None)
    for section, values in config.model_dump(mode="json").items():
        fields |= {f"{section}.{name}": str(value) for name, value in values.items()}
    if config.upscale.model != "zssr":
        fields["upscale.zssr"] = str(OF_OTHER_MODELS)
    for of_no_effect in ("upscale.model", "upscale.checkpoint", "upscale.device", *MEANS):  # the weights are named
        del fields[of_no_effect]
    return fields


def changed_settings(row: QueueRow, settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return the settings that a clip was begun with and that are others now, each as `encode.quality: 72 -> 80`."""
    # A setting that an older version did not have cannot have changed.
    both = [name for name in settings if name in row.settings]
    return tuple(f"{n}: {row.settings[n]} -> {settings[n]}" for n in both if row.settings[n] != settings[n])
