"""What is kept of a run: everything that its continuation needs, and the weights that other commands load."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vsr_pipeline.errors import ModelError
from vsr_pipeline.runtime.files import published

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class State:
    """A run between two iterations."""

    iteration: int
    """How many are done."""
    seconds: float
    """How long it has trained, before interruptions too."""
    processes: int
    """How many trained together: it decides which samples each of them sees."""
    config_json: str
    parts: dict[str, Any]
    """What `Trainer.parts` gave."""


def save(folder: Path, state: State) -> None:
    """Write the checkpoint in place of the one before, which stays whole until the new one is.

    Raises:
        OutputError, DiskFullError: it cannot be written.
    """
    values = {
        "iteration": state.iteration,
        "seconds": state.seconds,
        "processes": state.processes,
        "config": state.config_json,
        "parts": state.parts,
    }
    # Libraries make errors of their own of a full disk; writing bytes gives the OSError that says so.
    buffer = io.BytesIO()
    torch.save(values, buffer)
    with published(folder / CHECKPOINT) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(folder: Path) -> State | None:
    """Return the state that a folder keeps; None where it keeps none.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        return State(
            iteration=values["iteration"],
            seconds=values["seconds"],
            processes=values["processes"],
            config_json=values["config"],
            parts=values["parts"],
        )
    except Exception as error:  # what a parser raises on foreign bytes has no common base
        raise ModelError(f"{path} cannot be resumed from: {type(error).__name__}; delete it to begin anew") from error


def export(folder: Path, weights: dict[str, Tensor], facts: dict[str, str]) -> Path:
    """Write weights as fp16 safetensors for `--checkpoint`, with facts on their origin in the header.

    Raises:
        OutputError, DiskFullError: it cannot be written.
    """
    content = safetensors.torch.save({name: value.half().contiguous() for name, value in weights.items()}, facts)
    path = folder / WEIGHTS
    with published(path) as temporary:
        temporary.write_bytes(content)
    return path
