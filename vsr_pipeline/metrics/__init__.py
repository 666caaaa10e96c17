"""How good a clip is, by numbers.

PSNR, SSIM, VMAF, flicker, MSE and a perceptual distance against its reference, NIQE and BRISQUE without one.
"""

from vsr_pipeline.metrics.fidelity import luma, mse, psnr, ssim
from vsr_pipeline.metrics.flicker import FlickerMeter
from vsr_pipeline.metrics.naturalness import NaturalnessMeter
from vsr_pipeline.metrics.perceptual import PerceptualMeter
from vsr_pipeline.metrics.plot import draw_curves
from vsr_pipeline.metrics.scores import FrameScores, Scores, mean_scores, score, score_frames
from vsr_pipeline.metrics.vmaf import VmafMeter

__all__ = [
    "FlickerMeter",
    "FrameScores",
    "NaturalnessMeter",
    "PerceptualMeter",
    "Scores",
    "VmafMeter",
    "draw_curves",
    "luma",
    "mean_scores",
    "mse",
    "psnr",
    "score",
    "score_frames",
    "ssim",
]
