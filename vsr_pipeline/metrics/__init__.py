"""How good a clip is against its reference: PSNR, SSIM, VMAF and flicker."""

from vsr_pipeline.metrics.fidelity import luma, psnr, ssim
from vsr_pipeline.metrics.flicker import FlickerMeter
from vsr_pipeline.metrics.plot import draw_curves
from vsr_pipeline.metrics.scores import FrameScores, Scores, mean_scores, score, score_frames
from vsr_pipeline.metrics.vmaf import VmafMeter

__all__ = [
    "FlickerMeter",
    "FrameScores",
    "Scores",
    "VmafMeter",
    "draw_curves",
    "luma",
    "mean_scores",
    "psnr",
    "score",
    "score_frames",
    "ssim",
]
