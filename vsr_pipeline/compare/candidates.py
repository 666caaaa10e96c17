"""Which models are compared: names of the manifest, each with its dials. Loads no torch."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.config import Config
from vsr_pipeline.errors import ConfigError, UsageError

DIALS = ("cleaning", "strength", "detail", "denoise", "tile", "refine", "faces", "face-strength", "zssr-steps")
MOST = 26
"""There is a letter for each where names are hidden."""
# What is quick and tells much comes first, so that there is something to look at.
_USUAL = (
    "bicubic",
    "fsrcnn-x4",
    "realesr-animevideov3",
    "realbasicvsr-open-fast-x4",
    "realbasicvsr-x4",
    "realbasicvsr-open-x4",
    "realbasicvsr-open-detail-x4",
    "animesr-v2-x4",
    "realesrgan-x4plus",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is compared, with its dials as they were written."""

    model: str
    dials: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people call it, as in `--models`."""
        return ":".join([self.model, *(f"{name}={value}" for name, value in self.dials.items())])

    def applied_to(self, config: Config) -> Config:
        """Return the settings that the model runs with.

        Raises:
            UsageError: a dial has a value that is not allowed.
        """
        try:
            return config.override(model=self.model, **{n.replace("-", "_"): v for n, v in self.dials.items()})
        except ConfigError as error:
            raise UsageError(f"--models {self.label}: {error}") from error


def usual_candidates() -> tuple[Candidate, ...]:
    """Return the usual models as far as they are here, quick ones first."""
    return tuple(Candidate(name) for name in _USUAL if manifest.can_be_used(manifest.find(name)))


def parse_candidates(text: str) -> tuple[Candidate, ...]:
    """Read `bicubic,realbasicvsr-open-x4:cleaning=0.5:strength=0.8`.

    Raises:
        ModelError: a model is unknown, or not here.
        UsageError: a dial is unknown or has no value, or a model is named twice with the same dials.
    """
    candidates = tuple(_candidate(part.strip()) for part in text.split(","))
    if len(candidates) > MOST:
        raise UsageError(f"--models names {len(candidates)} models: name {MOST} at most")
    labels = [candidate.label for candidate in candidates]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"--models names {label} twice: name each model once, or with other dials")
    return candidates


def _candidate(text: str) -> Candidate:
    name, *parts = text.split(":")
    if not name:
        raise UsageError("--models has an empty name: give names such as bicubic,realbasicvsr-open-x4")
    manifest.refuse_unknown(name, None)
    dials: dict[str, str] = {}
    # A refinement has a colon of its own, before its share.
    for part in re.sub(r"(refine=[^:]+):([0-9.]+)(?=:|$)", r"\1\0\2", ":".join(parts)).split(":") if parts else ():
        dial, equals, value = part.replace("\0", ":").partition("=")
        if dial not in DIALS:
            close = difflib.get_close_matches(dial, DIALS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(DIALS)}"
            raise UsageError(f"--models {text}: unknown dial '{dial}': {hint}")
        if not (equals and value):
            raise UsageError(f"--models {text}: {dial} has no value: write {dial}=0.5")
        dials[dial] = value
    return Candidate(manifest.choose_auto().name if name == "auto" else name, dials)


def entry_of(candidate: Candidate) -> manifest.ModelEntry:
    """Return the manifest's entry of a candidate, or of what stands in for it.

    Raises:
        ModelError: there is none.
    """
    return manifest.chosen(candidate.model)


def common_scale(candidates: tuple[Candidate, ...]) -> float:
    """Return what all enlarge by where no size is asked for: the largest scale of a network among them, else 4."""
    entries = [entry_of(candidate) for candidate in candidates]
    return max((entry.scale for entry in entries if entry.kind != "interpolation"), default=4)
