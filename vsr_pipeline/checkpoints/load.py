"""From a checkpoint's file to tensors with the official names. Loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vsr_pipeline.checkpoints import state_dicts
from vsr_pipeline.checkpoints.state_dicts import Family
from vsr_pipeline.errors import ModelError
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
    sha256: str


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
        sha256=sha256,
    )
