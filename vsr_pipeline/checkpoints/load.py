"""From a checkpoint's file to tensors with the official names. Loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from vsr_pipeline.checkpoints import state_dicts
from vsr_pipeline.checkpoints.ranges import Calibration, find_ranges, load_ranges
from vsr_pipeline.checkpoints.state_dicts import Family
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.animesr import AnimeSRNet, animesr_from
from vsr_pipeline.models.state import mixed
from vsr_pipeline.runtime.files import file_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network's weights in float32 under the official names (mmedit 0.16), and the sizes of that network."""

    family: Family
    state_dict: Mapping[str, Tensor]
    mid_channels: int
    num_propagation_blocks: int
    num_cleaning_blocks: int | None
    cleaning_channels: int | None
    reconstruction_channels: tuple[int, int]
    flow_levels: int
    sha256: str
    ranges: Path | None = None
    """The file of what int8 needs; None: there is none. It is read by those alone who compute in int8."""

    @property
    def calibration(self) -> Calibration | None:
        """What int8 needs, as it is read now; raises ModelError where its file is damaged or for other weights."""
        return load_ranges(self.ranges, self.sha256) if self.ranges else None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the weights of a RealBasicVSR or BasicVSR from a `.pth` file (mmedit or BasicSR) or `.safetensors`.

    Nothing in the file is executed. Discriminators, losses and counters beside the generator are left out; where there
    is a moving average of the generator (EMA), that is what is read.

    Raises:
        ModelError: the file is missing, damaged, wants to run code, or has other keys than such a network; one line
            names missing and unexpected keys.
    """
    if not path.is_file():
        raise ModelError(f"no such checkpoint file: {path}")
    try:
        sha256 = file_sha256(path)
        state_dict = state_dicts.canonical(state_dicts.read_tensors(path))
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    sizes = state_dicts.infer_sizes(state_dict)
    state_dicts.check_keys(state_dict, sizes, path)
    return Checkpoint(
        family=sizes.family,
        state_dict=state_dict,
        mid_channels=sizes.mid_channels,
        num_propagation_blocks=sizes.num_propagation_blocks,
        num_cleaning_blocks=sizes.num_cleaning_blocks,
        cleaning_channels=sizes.cleaning_channels,
        reconstruction_channels=sizes.reconstruction_channels,
        flow_levels=sizes.flow_levels,
        sha256=sha256,
        ranges=find_ranges(path, sha256),
    )


def mixed_checkpoint(detail: Checkpoint, plain: Checkpoint, share: float) -> Checkpoint:
    """Mix the weights of two checkpoints; see `mixed`. A mixture has no ranges for int8.

    Args:
        detail: one network.
        plain: the other one, from which it was trained.
        share: of the first, 0 to 1.

    Raises:
        ModelError: the networks are of different sizes.
    """
    return replace(
        detail,
        state_dict=mixed(plain.state_dict, detail.state_dict, share),
        sha256=f"{share:g} of {detail.sha256}, {plain.sha256}",
        ranges=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimeSRCheckpoint:
    """AnimeSR's network with its weights, on the CPU, in float32."""

    name: str
    net: AnimeSRNet
    sha256: str


def load_animesr(path: Path, name: str) -> AnimeSRCheckpoint:
    """Read AnimeSR's weights; nothing in the file is executed.

    Raises:
        ModelError: the file is missing, damaged, wants to run code, or has other weights.
    """
    try:
        tensors = state_dicts.read_tensors(path)
        return AnimeSRCheckpoint(
            name=name, net=animesr_from({k: v.float() for k, v in tensors.items()}), sha256=file_sha256(path)
        )
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error


def architecture_of(path: Path) -> str:
    """Return the architecture of a checkpoint file, as the manifest calls it, from the names of its tensors.

    Returns:
        `realbasicvsr` also for what is damaged or nothing of ours and looks like it; `zoo` for what is not known here.

    Raises:
        ModelError: the file is missing, damaged, or wants to run code.
    """
    if not path.is_file():
        raise ModelError(f"no such checkpoint file: {path}")
    try:
        tensors = state_dicts.read_tensors(path)
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    found = next((kind for kind, signs in _SIGNS.items() if any(name.startswith(signs) for name in tensors)), "zoo")
    # Ours take colours; a network for grey pictures is applied to each colour there.
    first = tensors.get(_FIRST_LAYERS.get(found, ""))
    return found if first is None or first.ndim != 4 or first.shape[1] in _COLOURS else "zoo"


# Beginnings of names that no other architecture has; the first that fits counts.
_SIGNS = {
    "realbasicvsr": ("image_cleaning.", "basicvsr.", "spynet.", "backward_resblocks.", "backward_trunk.", "fusion."),
    "animesr": ("recurrent_cell.",),
    "rrdb": ("body.0.rdb1.",),
    "edsr": ("conv_after_body.",),
    "compact": ("body.0.weight",),
}
_FIRST_LAYERS = {"compact": "body.0.weight", "rrdb": "conv_first.weight"}
# Input channels: RGB, also of 2x2 pixels that are folded into one.
_COLOURS = (3, 12)
