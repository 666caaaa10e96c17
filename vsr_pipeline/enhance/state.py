"""The state of a model between two frames, as a file."""

from pathlib import Path

from vsr_pipeline.enhance.spec import State
from vsr_pipeline.runtime.files import write_failure


def copy_of_state(state: State) -> State:
    """Return a state in main memory that its model no longer changes."""
    return {
        name: value if isinstance(value, int) else value.detach().to("cpu", copy=True) for name, value in state.items()
    }


def save_state(state: State, path: Path) -> None:
    """Write a state; every value comes back exactly.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    import torch

    try:
        with path.open("wb") as file:
            torch.save(dict(state), file)
    except OSError as error:
        raise write_failure(path, error) from error


def load_state(path: Path) -> State:
    """Read what `save_state` wrote; tensors are in main memory."""
    import torch

    loaded: State = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
