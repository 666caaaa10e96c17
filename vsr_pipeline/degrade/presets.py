"""The chains that ship: the published recipe, the three strengths of `vsr degrade`, and the mixture for training."""

import math

from vsr_pipeline.degrade.chains import (
    Blur,
    Chain,
    Chroma,
    Jpeg,
    KernelShape,
    Noise,
    Preset,
    RandomOrder,
    Resize,
    Speed,
    Strength,
    Varying,
    VideoCompression,
    varying,
)

_SHAPES: dict[KernelShape, float] = {
    "iso": 0.405,
    "aniso": 0.225,
    "generalised_iso": 0.108,
    "generalised_aniso": 0.027,
    "plateau_iso": 0.108,
    "plateau_aniso": 0.027,
    "sinc": 0.1,
}

# Blur of the truth (sigma in its pixels), noise (sigma of 255) and CRF.
_STRENGTHS: dict[Strength, tuple[float, float, float]] = {
    "mild": (0.0, 3.0, 24.0),
    "medium": (0.8, 8.0, 28.0),
    "heavy": (1.5, 16.0, 33.0),
}


def preset_chains(preset: Preset) -> tuple[Chain, ...]:
    """Chains of a preset, each with its weight."""
    if preset == "mixture":
        return (
            Chain(name="clean", weight=0.1, steps=(Resize(filters={"antialiased": 1}),)),
            _light(weight=0.15),
            _video(weight=0.35),
            _worn(weight=0.2),
            _colour(weight=0.1),
            published(weight=0.2, speed="veryfast"),
        )
    if preset == "published":
        return (published(),)
    return (strength(preset),)


def strength(name: Strength) -> Chain:
    """What `--strength` means: constant blur, MATLAB-style bicubic to the result's size, noise, H.264."""
    blur, noise, crf = _STRENGTHS[name]
    return Chain(
        name=name,
        steps=(
            *((Blur(sigma=_constant(blur), sizes=(15, 15)),) if blur else ()),
            Resize(filters={"antialiased": 1}),
            Noise(sigma=_constant(noise)),
            VideoCompression(crf=_constant(crf)),
        ),
    )


def published(weight: float = 1.0, speed: Speed = "medium") -> Chain:
    """RealBasicVSR's second-order degradation (Chan et al., CVPR 2022, after Real-ESRGAN, Wang et al., 2021).

    Of its encoders "libx264" and "h264" are one and the same in ffmpeg, so that x264 has two thirds of the weight. Its
    code encodes at one frame per second: the bit rate of its table is bits per frame.
    """
    compression = VideoCompression(
        encoders={"h264": 2, "mpeg4": 1}, bits_per_frame=varying(10_000, 100_000), speed=speed
    )
    return Chain(
        name="published",
        weight=weight,
        steps=(
            Blur(shapes=_SHAPES, sigma=varying(0.2, 3, 0.02)),
            Resize(scale=varying(0.15, 1.5, 0.015), up=0.2, down=0.7, keep=0.1),
            Noise(sigma=varying(1, 30, 0.1), poisson=0.5, poisson_scale=varying(0.05, 3, 0.005), grey=0.4),
            Jpeg(quality=varying(30, 95, 3)),
            compression,
            Blur(probability=0.8, shapes=_SHAPES, sigma=varying(0.2, 1.5, 0.02)),
            Resize(scale=varying(0.3, 1.2, 0.03), up=0.3, down=0.4, keep=0.3),
            Noise(sigma=varying(1, 25, 0.1), poisson=0.5, poisson_scale=varying(0.05, 2.5, 0.005), grey=0.4),
            Jpeg(quality=varying(30, 95, 3)),
            RandomOrder(
                groups=(
                    (compression,),
                    (
                        Resize(),
                        Blur(probability=0.8, shapes={"sinc": 1}, cutoff=varying(math.pi / 3, math.pi, math.pi / 50)),
                    ),
                )
            ),
        ),
    )


def _light(weight: float) -> Chain:
    """Hardly spoiled, up to a little more than `mild`: what a network must not make worse."""
    return Chain(
        name="light",
        weight=weight,
        steps=(
            Blur(probability=0.3, sigma=varying(0.2, 0.6, 0.01), sizes=(9, 9)),
            Resize(filters={"antialiased": 1}),
            Noise(probability=0.7, sigma=varying(0, 4, 0.1)),
            VideoCompression(probability=0.8, crf=varying(12, 26)),
        ),
    )


def _video(weight: float) -> Chain:
    """A video as cameras and sites give it: the family of `strength`, its strength drawn continuously."""
    return Chain(
        name="video",
        weight=weight,
        steps=(
            Blur(probability=0.85, shapes={"iso": 0.8, "aniso": 0.2}, sigma=varying(0, 2, 0.02), sizes=(15, 15)),
            Resize(filters={"antialiased": 0.8, "area": 0.1, "bilinear": 0.1}),
            Noise(sigma=varying(0, 20, 0.1), poisson=0.1, poisson_scale=varying(0.2, 2, 0.005), grey=0.15),
            Jpeg(probability=0.1, quality=varying(40, 95, 3)),
            VideoCompression(encoders={"h264": 0.84, "hevc": 0.08, "mpeg4": 0.08}, crf=varying(18, 36)),
        ),
    )


def _worn(weight: float) -> Chain:
    """A video that is bad in every way at once, which `_video` seldom is: from `medium` to worse than `heavy`."""
    return Chain(
        name="worn",
        weight=weight,
        steps=(
            Blur(sigma=varying(0.6, 2, 0.02), sizes=(15, 15)),
            Resize(filters={"antialiased": 1}),
            Noise(sigma=varying(6, 20, 0.1)),
            VideoCompression(crf=varying(26, 36)),
        ),
    )


def _colour(weight: float) -> Chain:
    """A video whose colour suffered: 4:2:0 made badly, encoded twice; from `light` to `medium`."""
    return Chain(
        name="colour",
        weight=weight,
        steps=(
            Blur(probability=0.5, sigma=varying(0.2, 1.2, 0.02), sizes=(11, 11)),
            Resize(filters={"antialiased": 1}),
            Noise(sigma=varying(0, 8, 0.1)),
            Chroma(shift=varying(-1, 1)),
            VideoCompression(encoders={"h264": 0.7, "hevc": 0.1, "mpeg4": 0.2}, crf=varying(20, 32)),
            VideoCompression(probability=0.5, crf=varying(20, 32)),
        ),
    )


def _constant(value: float) -> Varying:
    return varying(value, value)
