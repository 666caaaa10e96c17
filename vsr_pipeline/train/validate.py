"""How good the network is by now: scores on clips that stay the same."""

from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vsr_pipeline.metrics import luma, psnr, ssim
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.train.config import RunConfig
from vsr_pipeline.train.data import Sequences
from vsr_pipeline.train.processes import Processes
from vsr_pipeline.train.sources import Source, find_sources

_SEED_OFFSET = 1_000_003
"""What sets the seed of validation apart from that of training, so that no sequence is in both."""


_SCORES = ("psnr_y", "ssim_y", "psnr_cleaned", "psnr_y_bicubic")


class Enhancer(Protocol):
    """What is scored."""

    def enhance(self, lq_NTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return HR frames and cleaned frames in [0, 1] of uint8 LQ frames."""
        ...


class Validation:
    """Fixed clips of the run's kind, not mirrored, made once; each process makes and scores a share of them.

    With one process that does it all, the others would wait, and their communication would time out.

    Raises:
        InputError: there are none in the folders.
    """

    def __init__(
        self, config: RunConfig, sources: tuple[Source, ...], reporter: Reporter, processes: Processes
    ) -> None:
        own = config.validation.folders
        if own and config.validation.clips:
            sources = find_sources(own, config.data.truth_size, reporter.note)
        plain = config.model_copy(update={"data": config.data.model_copy(update={"mirror": False})})
        sequences = Sequences(sources, plain, seed=config.train.seed + _SEED_OFFSET, with_truth=True)
        self._count = config.validation.clips
        self._processes = processes
        self._clips = [sequences[k] for k in range(processes.index, self._count, processes.count)]

    def __bool__(self) -> bool:
        return self._count > 0

    def score(self, enhancer: Enhancer) -> dict[str, float]:
        """Return means over all frames: Y-PSNR and SSIM of HR frames, PSNR of cleaned ones, and bicubic's Y-PSNR.

        All processes call it together; the means are over all their frames.
        """
        rows = []
        for clip in self._clips:
            output, cleaned = enhancer.enhance(clip["lq"][None])
            for n in range(len(clip["lq"])):
                truth, frame = luma(_pixels(clip["truth"][n])), luma(_pixels(output[0, n]))
                lq = clip["lq"][n].permute(1, 2, 0).numpy()
                bicubic = cv2.resize(lq, (truth.shape[1], truth.shape[0]), interpolation=cv2.INTER_CUBIC)
                rows.append(
                    (
                        psnr(truth, frame),
                        ssim(truth, frame),
                        psnr(_pixels(clip["clean"][n]), _pixels(cleaned[0, n])),
                        psnr(truth, luma(bicubic.astype(np.float64))),
                    )
                )
        *sums, count = self._processes.sum([*np.sum(rows or np.zeros((1, len(_SCORES))), axis=0), len(rows)])
        return {name: float(value / count) for name, value in zip(_SCORES, sums, strict=True)}


def _pixels(frame_3HW: Tensor) -> npt.NDArray[np.float64]:
    """A frame (H, W, 3) from 0 to 255, rounded."""
    if frame_3HW.dtype != torch.uint8:
        frame_3HW = (frame_3HW * 255).round()
    return frame_3HW.permute(1, 2, 0).numpy().astype(np.float64)
