"""Spoil clean frames the way that real videos are spoiled: what RealBasicVSR is trained on, and test pairs."""

from vsr_pipeline.degrade.config import DegradationConfig, load_degradation
from vsr_pipeline.degrade.degradation import Degradation
from vsr_pipeline.degrade.resize import bicubic_quarter

__all__ = ["Degradation", "DegradationConfig", "bicubic_quarter", "load_degradation"]
