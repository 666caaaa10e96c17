"""The networks, nearly all of them in pure PyTorch: no paths, no environment, no logging.

Parameter names are those of the official implementation (mmedit 0.16), so that published checkpoints load strictly.
Shape suffixes on tensors: N clips, T frames, C channels, H and W rows and columns of the low-quality frames.
torch is loaded when a network of it is: OpenCV's run without.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsr_pipeline.models.basicvsr import BasicVSRNet
    from vsr_pipeline.models.realbasicvsr import MAX_CLEANING_PASSES, RealBasicVSRNet
    from vsr_pipeline.models.spynet import SPyNet

__all__ = ["MAX_CLEANING_PASSES", "BasicVSRNet", "RealBasicVSRNet", "SPyNet"]

_FILES = {"BasicVSRNet": "basicvsr", "SPyNet": "spynet"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_FILES.get(name, 'realbasicvsr')}"), name)
