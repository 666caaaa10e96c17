"""The networks, in pure PyTorch: no paths, no environment, no logging.

Parameter names are those of the official implementation (mmedit 0.16), so that published checkpoints load strictly.
Shape suffixes on tensors: N clips, T frames, C channels, H and W rows and columns of the low-quality frames.
"""

from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import MAX_CLEANING_PASSES, RealBasicVSRNet
from vsr_pipeline.models.spynet import SPyNet

__all__ = ["MAX_CLEANING_PASSES", "BasicVSRNet", "RealBasicVSRNet", "SPyNet"]
