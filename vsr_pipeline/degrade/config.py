"""The section `[degradation]`: a preset with weights of one's own, or chains of one's own."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from vsr_pipeline.config import how_to_write
from vsr_pipeline.degrade.chains import Chain, Listed, Plain, Preset, Weight, check_drawable
from vsr_pipeline.degrade.presets import preset_chains
from vsr_pipeline.errors import ConfigError, InputError


class DegradationConfig(Plain):
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
        check_drawable({chain.name: chain.weight for chain in self.resolved_chains}, "weights")
        return self

    @property
    def resolved_chains(self) -> tuple[Chain, ...]:
        """The chains that one is drawn from, with their weights."""
        chains = self._unweighted()
        return tuple(c.model_copy(update={"weight": self.weights.get(c.name, c.weight)}) for c in chains)

    def _unweighted(self) -> tuple[Chain, ...]:
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
