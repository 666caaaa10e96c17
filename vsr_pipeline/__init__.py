"""Unattended video super-resolution built around RealBasicVSR.

    import vsr_pipeline as vsr

    model = vsr.open_model("realbasicvsr-open-x4")
    for larger in model.enhance(frames):
        ...
    vsr.run("holiday.mp4", "holiday_x4.mp4")

Importing the package is cheap: neither torch nor av is loaded before one of its names is used.
"""

from typing import TYPE_CHECKING

from vsr_pipeline.errors import VsrError

if TYPE_CHECKING:
    from vsr_pipeline.library import ClipOutcome, Model, open_model, run

__all__ = ["ClipOutcome", "Model", "VsrError", "open_model", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("vsr_pipeline.library"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
