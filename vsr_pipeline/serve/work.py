"""What the helper process computes: how long a clip would take, and pictures. It loads PyTorch and keeps the model."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr_pipeline.config import Config, UpscaleConfig, default_config_path, load_config
from vsr_pipeline.jobs.batch.chosen import config_for
from vsr_pipeline.runtime.progress import Reporter

if TYPE_CHECKING:  # the server imports this file, too, and must not load PyTorch
    from vsr_pipeline.enhance.spec import ModelSpec

_TIMED_FRAMES = 24


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

    config = config_for(batch_config(config_path), chosen)
    if on_cpu:
        config = config.override(device="cpu")
    images = api.image_target(str(target))
    assert images is not None
    api.enhance(source, images, config, reporter=Reporter(), overwrite=True, fresh=True, model=_model)
    return picture_size(target.read_bytes()) or (0, 0)


def batch_config(path: Path | None) -> Config:
    """Return the settings of the batch; None: it is not told which."""
    return load_config(path or default_config_path())


@lru_cache(maxsize=1)
def _model(settings: UpscaleConfig) -> "ModelSpec":
    from vsr_pipeline import api

    return api.open_model(settings)
