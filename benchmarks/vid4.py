"""Vid4 with BasicVSR and its Vimeo90K-BD weights: PSNR and SSIM on luma, whole sequences, full frames.

    python benchmarks/vid4.py [--precision fp32] [--windows exact|official] [CLIP ...]

Published by the authors: 27.96 dB on average over the four clips of Vid4. The truth is read from
`$VSR_TEST_DATA/data/clips/vid4` (default `../shared`); the input is made from it as BDx4 is defined: Gaussian blur of
sigma 1.6, then every fourth pixel.
"""

import argparse
import os
from pathlib import Path

import cv2
import numpy as np

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.media.images import Pixels, list_frames, read_image
from vsr_pipeline.metrics import score

MODEL = "basicvsr-vimeo90k-bd-wheel"


def degrade_bd(frame: Pixels) -> Pixels:
    """BDx4: an even Gaussian kernel of 12 taps, so that sample i is centred on 4i + 1.5; rounded to 8 bits."""
    taps = np.exp(-((np.arange(12) - 5.5) ** 2) / (2 * 1.6**2))
    taps /= taps.sum()
    height, width = frame.shape[:2]
    padded = cv2.copyMakeBorder(frame.astype(np.float64), 4, 4, 4, 4, cv2.BORDER_REPLICATE)
    rows = sum(weight * padded[k : k + height : 4] for k, weight in enumerate(taps))
    both = sum(weight * rows[:, k : k + width : 4] for k, weight in enumerate(taps))
    return np.clip(both.round(), 0, 255).astype(np.uint8)


def upscale_whole(frames: list[Pixels], settings: UpscaleConfig) -> list[Pixels]:
    """Upscale a clip as one shot."""
    spec = open_model(settings)
    upscaler = spec.variants[0].build()
    decision = decide_in_memory(upscaler, spec.context, frames, spec.scale)
    return enhance_in_memory(upscaler, spec.context, frames, decision, spec.scale)


def main() -> None:
    """Print a row for each clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", default=["calendar", "city"])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--windows", default="exact")
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    folder = Path(os.environ.get("VSR_TEST_DATA", "../shared")) / "data" / "clips" / "vid4"
    for clip in options.clips:
        truth = [read_image(path) for path in list_frames(folder / clip)]
        settings = UpscaleConfig(
            model=options.model, precision=options.precision, windows=options.windows, max_seq_len=len(truth)
        )
        outputs = upscale_whole([degrade_bd(frame) for frame in truth], settings)
        scores = score(zip(truth, outputs, strict=True))
        print(f"{clip}: {scores.psnr_y:.2f} dB, SSIM {scores.ssim_y:.4f} on Y, {scores.frame_count} frames", flush=True)


if __name__ == "__main__":
    main()
