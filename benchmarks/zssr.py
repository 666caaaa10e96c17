"""ZSSR on pictures that scikit-image ships: PSNR on luma, whole pictures, a border as wide as the scale left out.

    python benchmarks/zssr.py [--pictures chelsea,...] [--ways bicubic,nearest,blurred] [--scales 2,...] [--steps N]

Ways of reduction: MATLAB's antialiased bicubic; nearest, the first pixel of each square; a Gaussian of 2 pixels. The
kernel of the last two is given, and they are for whole scales. "MATLAB" is its bicubic, which papers compare with,
"bicubic" the model of that name, "back" is that with 10 back-projections and no network, "zssr" the default, "all" zssr
with `orientations` and as many `back_projections`.
"""

import argparse
import tempfile
from fractions import Fraction
from math import ceil
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import skimage.data
import torch

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.config_zssr import ZssrConfig
from vsr_pipeline.enhance.frames import decide, enhance_frames
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.zssr_pictures import Kernel, Reduction, back_projected
from vsr_pipeline.media.antialias import antialiased_bicubic
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.media.interpolation import interpolate
from vsr_pipeline.timeline import Decision, Segment, Shot

BACK_PROJECTIONS = 10


def kernel_of(way: str, scale: int) -> Kernel | None:
    """Return the kernel of a way of reduction, on the HR grid; None for bicubic."""
    if way == "bicubic":
        return None
    if way == "nearest":
        kernel = np.zeros((scale, scale), np.float32)
        kernel[0, 0] = 1
        return kernel
    places = np.arange(14) - 6.5
    one = np.exp(-(places**2) / 2 / 2.0**2)
    return (np.outer(one, one) / np.outer(one, one).sum()).astype(np.float32)


def psnr_y(picture: Pixels, truth: Pixels, border: int) -> float:
    """Return the PSNR of BT.601 luma, in studio range, in dB."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    difference = ((picture.astype(np.float64) - truth) @ weights)[border:-border, border:-border]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def row(name: str, way: str, scale: Fraction, settings: UpscaleConfig) -> str:
    """Reduce a picture, enlarge it, and say what the PSNR is in each way."""
    picture = getattr(skimage.data, name)()[:, :, :3]
    sides = [int(side // scale.numerator) * scale.numerator for side in picture.shape[:2]]
    hr = np.ascontiguousarray(picture[: sides[0], : sides[1]])
    small, large = tuple(int(side / scale) for side in sides), hr.shape[:2]
    reduction = Reduction(kernel_of(way, int(scale)))
    lq = (reduction(hr.astype(np.float32) / 255, small).clip(0, 1) * 255).round().astype(np.uint8)
    floats = lq.astype(np.float32) / 255
    plain = interpolate(floats, large, "bicubic")
    shown = [antialiased_bicubic(floats, large), plain, back_projected(plain, floats, reduction, BACK_PROJECTIONS)]
    outputs = [(frame.clip(0, 1) * 255).round().astype(np.uint8) for frame in shown]
    geometry = Geometry(small[::-1], small[::-1], large[::-1], large[::-1])
    with tempfile.TemporaryDirectory() as folder:
        if reduction.kernel is not None:
            np.save(Path(folder) / "kernel.npy", reduction.kernel)
            settings = settings.model_copy(update={"kernel": Path(folder) / "kernel.npy"})
        begun = monotonic()
        decision = decide(open_model(settings).variants[0].build(), [lq], geometry, print)
        trained = monotonic() - begun
        for orientations, count in ((False, 0), (True, BACK_PROJECTIONS)):
            own = settings.zssr.model_copy(update={"orientations": orientations, "back_projections": count})
            outputs.append(_enlarged(lq, settings.model_copy(update={"zssr": own}), decision, geometry))
    figures = " | ".join(f"{psnr_y(output, hr, ceil(scale)):.2f}" for output in outputs)
    return f"| {way} | {float(scale):g} | {name} | {figures} | {decision.description}, {trained:.0f} s |"


def _enlarged(lq: Pixels, settings: UpscaleConfig, decision: Decision, geometry: Geometry) -> Pixels:
    upscaler = open_model(settings).variants[0].build()
    segment = Segment(0, 1, 0, 1, Shot(0, 1))
    (output,) = enhance_frames(upscaler, [lq], segment, decision, geometry=geometry, on_work=lambda _: None)
    return output


def main() -> None:
    """Print a row for each picture, way and scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", default="astronaut,coffee,chelsea")
    parser.add_argument("--ways", default="bicubic,nearest,blurred")
    parser.add_argument("--scales", default="2")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--crop", type=int, default=ZssrConfig().crop)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = UpscaleConfig(model="zssr", device="cpu", zssr_steps=options.steps, zssr=ZssrConfig(crop=options.crop))
    print("| reduced by | scale | picture | MATLAB | bicubic | back | zssr | all | |\n" + "|---" * 9 + "|")
    for way in options.ways.split(","):
        for scale in map(Fraction, options.scales.split(",")):
            for name in options.pictures.split(","):
                print(row(name, way, scale, settings), flush=True)


if __name__ == "__main__":
    main()
