"""What helper processes compute: how long a clip would take, pictures, previews, comparisons. They load PyTorch."""

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr_pipeline.config import Config, UpscaleConfig, default_config_path, load_config
from vsr_pipeline.config_text import seconds_from
from vsr_pipeline.jobs.batch.chosen import config_for
from vsr_pipeline.runtime.files import replace_text
from vsr_pipeline.runtime.progress import Advanced, Event, Reporter, Started
from vsr_pipeline.serve.tasks import PROGRESS

if TYPE_CHECKING:  # the server imports this file, too, and must not load PyTorch
    from vsr_pipeline.enhance.spec import ModelSpec

_TIMED_FRAMES = 24
_SECONDS_BETWEEN_WRITES = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """What the first frames of a clip take."""

    frames: int
    seconds: float
    encoded_bytes: float
    width: int
    height: int


def timing_of(path: Path, chosen: Mapping[str, Any], config_path: Path | None) -> Timing:
    """Time the model on the beginning of a clip.

    Raises:
        VsrError: as `vsr_pipeline.api.estimate`.
    """
    from vsr_pipeline import api
    from vsr_pipeline.jobs.estimate import picture_bytes

    config = config_for(batch_config(config_path), chosen).override(max_frames=_TIMED_FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mkv"
        found = api.estimate(path, output, config, options=api.RunOptions(), reporter=Reporter())
    encoded = picture_bytes(found.output_size, found.frame_count, config.encode)
    return Timing(found.frame_count, found.seconds or 0.0, encoded, *found.output_size)


def enlarge(
    source: Path, target: Path, chosen: Mapping[str, Any], config_path: Path | None, *, on_cpu: bool
) -> tuple[int, int]:
    """Enlarge a picture into a file; return the size of the result. `on_cpu`: the device is needed elsewhere.

    Raises:
        VsrError: as `vsr_pipeline.api.enhance`.
    """
    from vsr_pipeline import api
    from vsr_pipeline.media.picture_facts import picture_size

    config = _config(chosen, config_path, on_cpu=on_cpu)
    images = api.image_target(str(target))
    assert images is not None
    api.enhance(source, images, config, reporter=Reporter(), overwrite=True, fresh=True, model=_model)
    return picture_size(target.read_bytes()) or (0, 0)


def preview_of(
    source: Path, place: Path, chosen: Mapping[str, Any], at: str, config_path: Path | None, *, on_cpu: bool
) -> dict[str, Any]:
    """Make `before.mp4` and `after.mp4` in a folder; return the fields of `Preview`. `at` empty: the middle.

    Raises:
        VsrError: as `vsr_pipeline.compare.preview.preview`.
    """
    from vsr_pipeline.compare.preview import preview

    config = _config(chosen, config_path, on_cpu=on_cpu)
    moment = seconds_from(at) if at else None
    made = preview(source, place, config, _model(config.upscale), at=moment, reporter=_reporter(place))
    return dataclasses.asdict(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is to be compared; paths are relative to `folder`, so that the page shows nothing above it."""

    folder: Path
    source: str
    models: tuple[str, ...]
    results: tuple[str, ...]
    reference: str
    """Empty: there is none."""
    at: str
    """Empty: moments are chosen."""
    blind: bool


def compare_versions(asked: Compared, place: Path, config_path: Path | None, *, on_cpu: bool) -> dict[str, Any]:
    """Write `compare.html` into a folder. The working folder of this process becomes that of the clips.

    Raises:
        VsrError: as `vsr_pipeline.api.compare`.
    """
    from vsr_pipeline import api
    from vsr_pipeline.compare.candidates import parse_candidates
    from vsr_pipeline.compare.options import CompareOptions

    os.chdir(asked.folder)
    at: tuple[Fraction, ...] = (seconds_from(asked.at),) if asked.at else ()
    options = CompareOptions(
        source=Path(asked.source),
        output=place / "compare.html",
        candidates=parse_candidates(",".join(asked.models)) if asked.models else (),
        results=tuple(map(Path, asked.results)),
        at=at,
        reference=Path(asked.reference) if asked.reference else None,
        blind=asked.blind,
        overwrite=True,
    )
    api.compare(options, _config({}, config_path, on_cpu=on_cpu), _reporter(place))
    return {}


def _config(chosen: Mapping[str, Any], path: Path | None, *, on_cpu: bool) -> Config:
    config = config_for(batch_config(path), chosen)
    return config.override(device="cpu") if on_cpu else config


def _reporter(place: Path) -> Reporter:
    """Return what writes how far the work is into a folder, once a second at most."""
    now: dict[str, Any] = {"what": "", "done": 0.0, "total": 0}
    written = 0.0

    def sink(event: Event) -> None:
        nonlocal written
        if isinstance(event, Started):
            now.update(what=event.what, done=0.0, total=event.total)
        elif isinstance(event, Advanced):
            now["done"] += event.amount
        else:
            return
        if isinstance(event, Started) or time.monotonic() > written + _SECONDS_BETWEEN_WRITES:
            written = time.monotonic()
            replace_text(place / PROGRESS, json.dumps(now))

    return Reporter(sink)


def batch_config(path: Path | None) -> Config:
    """Return the settings of the batch; None: it is not told which."""
    return load_config(path or default_config_path())


@lru_cache(maxsize=1)
def _model(settings: UpscaleConfig) -> "ModelSpec":
    from vsr_pipeline import api

    return api.open_model(settings)
