"""What is refused at once: missing files, unknown models and codecs, before seconds go by in loading PyTorch."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vsr_pipeline.runtime.files import check_file

if TYPE_CHECKING:
    from vsr_pipeline.config import Config
    from vsr_pipeline.runtime.progress import Reporter


def announce_loading(reporter: "Reporter", *, in_logs: bool = False) -> None:
    """Tell a person what the first seconds are for; a log need not know, unless `in_logs`."""
    if in_logs or sys.stderr.isatty():
        reporter.note("loading the model")


def refuse_missing(*inputs: Path | str) -> None:
    """Refuse a file that cannot be read. Addresses, folders and patterns of images are left to whoever reads them.

    Raises:
        InputError: one is missing, empty, or no file.
    """
    for name in inputs:
        path = Path(name)
        is_address_or_pattern = "://" in str(name) or ("%" in path.name and not os.path.lexists(path))
        if not is_address_or_pattern and not os.path.isdir(path):  # noqa: PTH112 - `Path.is_dir` fails on a long name
            check_file(path)


def refuse_unknown(settings: "Config", *, weights_are_here: bool = True) -> None:
    """Refuse a model, a checkpoint or a codec that there is not.

    Args:
        settings: of the command.
        weights_are_here: whether this machine loads the model; else another one does, and only names are checked.

    Raises:
        ModelError, UsageError: there is no such thing.
    """
    from vsr_pipeline.checkpoints import manifest

    manifest.refuse_unknown(settings.upscale.model, settings.upscale.checkpoint, must_be_here=weights_are_here)
    refuse_unknown_steps(settings, weights_are_here=weights_are_here)
    refuse_unknown_codec(settings)


def refuse_unknown_steps(settings: "Config", *, weights_are_here: bool = True) -> None:
    """Refuse what is to be done after the model by a network that is unknown, or not here; see `refuse_unknown`."""
    from vsr_pipeline.checkpoints import manifest

    if (refine := settings.upscale.refine_with) is not None:
        manifest.refuse_unknown(refine[0], None, must_be_here=weights_are_here)
    if settings.upscale.faces == "gfpgan" and weights_are_here:
        manifest.chosen_faces()


def refuse_unknown_codec(settings: "Config") -> None:
    """Refuse a codec that there is not; whether this machine has it is found out later.

    Raises:
        UsageError: there is none of this name.
    """
    from vsr_pipeline.media.write.codecs import find_codec

    find_codec(settings.encode.codec)
