"""Chains of steps over the frames of a sequence, each step a generator: of 15 frames or of a whole film."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, assert_never

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.degrade.chains import (
    Blur,
    Chain,
    Chroma,
    Jpeg,
    Noise,
    RandomOrder,
    Resize,
    Step,
    VideoCompression,
)
from vsr_pipeline.degrade.chroma import subsampled
from vsr_pipeline.degrade.compress import jpeg, video
from vsr_pipeline.degrade.config import DegradationConfig
from vsr_pipeline.degrade.kernels import gaussian, sinc
from vsr_pipeline.degrade.resize import resize
from vsr_pipeline.degrade.walk import walk
from vsr_pipeline.media.antialias import FloatFrame

_Name = TypeVar("_Name", bound=str)

# A sinc kernel narrower than this in pixels is not made for a lower cut-off than pi / 3: it could not hold it.
_WIDE_SINC = 13

# From this mean on, a Gaussian of the same variance cannot be told from a Poisson distribution, and is drawn faster.
_MANY_PHOTONS = 32

# Frames are not shrunk under this many pixels on a side, however small the truth and the factor.
_MIN_SIDE = 8


class Degradation:
    """Draws a chain for each sequence and applies it; needs no torch, holds no state."""

    def __init__(self, config: DegradationConfig) -> None:
        self._chains = {chain.name: chain for chain in config.resolved_chains}
        self._weights = {name: chain.weight for name, chain in self._chains.items()}

    def degrade(
        self, frames_THWC: npt.NDArray[np.floating[Any]], lq_size: tuple[int, int], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Spoil a sequence.

        Args:
            frames_THWC: clean RGB frames in [0, 1], at least one.
            lq_size: (height, width) of the result.
            rng: the same state gives the same result.

        Returns:
            (T, *lq_size, 3), float32 in [0, 1], each value a multiple of 1/255.
        """
        frames = np.ascontiguousarray(frames_THWC, np.float32)
        return np.stack(list(self.stream(iter(frames), lq_size, rng)))

    def stream(
        self, frames: Iterator[FloatFrame], lq_size: tuple[int, int], rng: np.random.Generator
    ) -> Iterator[FloatFrame]:
        """Spoil one sequence of any length, frame by frame, the same as `degrade`; memory does not grow with it.

        Video encoders hold back some frames; as many come out as go in, in the same order.
        """
        chain = self._chains[_draw(self._weights, rng)]
        return _quantised(apply_chain(chain, frames, lq_size, rng))


def apply_chain(
    chain: Chain, frames: Iterator[FloatFrame], lq_size: tuple[int, int], rng: np.random.Generator
) -> Iterator[FloatFrame]:
    """Apply the steps of one chain, each with its own random numbers.

    The steps run interleaved as encoders hold frames back; with one common generator, what a step draws would depend
    on that.
    """
    steps: list[Step] = []
    for step in chain.steps:
        if isinstance(step, RandomOrder):
            for group in rng.permutation(len(step.groups)):
                steps += step.groups[group]
        else:
            steps.append(step)
    for step in steps:
        own = np.random.default_rng(rng.integers(2**63))
        if own.random() < step.probability:
            frames = _apply(step, frames, lq_size, own)
    return frames


def _apply(
    step: Step, frames: Iterator[FloatFrame], lq_size: tuple[int, int], rng: np.random.Generator
) -> Iterator[FloatFrame]:
    match step:
        case Blur():
            return _blurred(step, frames, rng)
        case Resize():
            return _resized(step, frames, lq_size, rng)
        case Noise():
            return _noisy(step, frames, rng)
        case Jpeg():
            return (jpeg(frame, quality) for frame, quality in zip(frames, walk(step.quality, rng), strict=False))
        case Chroma():
            return _with_worse_colour(step, frames, rng)
        case VideoCompression():
            return _compressed(step, frames, rng)
        case RandomOrder():
            raise AssertionError("apply_chain takes groups apart")
        case _:
            assert_never(step)


def _blurred(step: Blur, frames: Iterator[FloatFrame], rng: np.random.Generator) -> Iterator[FloatFrame]:
    shape = _draw(step.shapes, rng)
    smallest, largest = step.sizes
    size = smallest + 2 * int(rng.integers((largest - smallest) // 2 + 1))
    sigma_x = walk(step.sigma, rng)
    if shape == "sinc":
        cutoff = step.cutoff
        if size < _WIDE_SINC:
            cutoff = cutoff.model_copy(update={"low": min(max(cutoff.low, math.pi / 3), cutoff.high)})
        for frame, value in zip(frames, walk(cutoff, rng), strict=False):
            yield cv2.filter2D(frame, -1, sinc(size, value))
        return
    round_one = shape.endswith("iso") and not shape.endswith("aniso")
    sigma_y = walk(step.sigma, rng)
    angle = walk(step.angle, rng)
    plateau = shape.startswith("plateau")
    beta = walk(step.beta_plateau if plateau else step.beta_generalised, rng)
    for frame, x, y, turn, form in zip(frames, sigma_x, sigma_y, angle, beta, strict=False):
        if shape == "iso":
            line = gaussian(size, x, x)[size // 2]
            line /= line.sum()
            yield cv2.sepFilter2D(frame, -1, line, line)  # the same as the round kernel, and several times faster
            continue
        form = form if plateau or shape.startswith("generalised") else 1.0
        kernel = gaussian(size, x, x if round_one else y, 0.0 if round_one else turn, beta=form, plateau=plateau)
        yield cv2.filter2D(frame, -1, kernel)


def _resized(
    step: Resize, frames: Iterator[FloatFrame], lq_size: tuple[int, int], rng: np.random.Generator
) -> Iterator[FloatFrame]:
    method = _draw(step.filters, rng)
    if step.scale is None:
        for frame in frames:
            yield resize(frame, lq_size, method)
        return
    direction = _draw({"up": step.up, "down": step.down, "keep": step.keep}, rng)
    first = {"up": rng.uniform(1, step.scale.high), "down": rng.uniform(step.scale.low, 1), "keep": 1.0}[direction]
    for frame, scale in zip(frames, walk(step.scale, rng, first=first), strict=False):
        height, width = (max(int(side * scale) // 2 * 2, _MIN_SIDE) for side in frame.shape[:2])
        yield resize(frame, (height, width), method)


def _noisy(step: Noise, frames: Iterator[FloatFrame], rng: np.random.Generator) -> Iterator[FloatFrame]:
    poisson = rng.random() < step.poisson
    grey = rng.random() < step.grey
    amount = walk(step.poisson_scale if poisson else step.sigma, rng)
    for frame, value in zip(frames, amount, strict=False):
        if poisson:
            noise = _poisson_noise(frame, grey, rng) * np.float32(value)
        else:
            shape = (*frame.shape[:2], 1) if grey else frame.shape
            noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(value / 255)
        yield (frame + noise).clip(0, 1)


def _poisson_noise(frame: FloatFrame, grey: bool, rng: np.random.Generator) -> FloatFrame:
    """Photon noise of a picture whose white is as many photons as it has grey levels, rounded up to a power of 2.

    So Real-ESRGAN defines it; a parameter scales the noise afterwards.
    """
    signal = frame.clip(0, 1)
    if grey:
        signal = cv2.cvtColor(signal, cv2.COLOR_RGB2GRAY)[..., None]
    levels = int(np.count_nonzero(np.bincount(np.rint(signal * 255).astype(np.uint8).ravel(), minlength=256)))
    photons = np.float32(2 ** math.ceil(math.log2(max(levels, 2))))
    mean = signal * photons
    noise = rng.standard_normal(mean.shape, dtype=np.float32) * np.sqrt(mean)
    few = mean < _MANY_PHOTONS
    noise[few] = rng.poisson(mean[few]) - mean[few]
    return noise / photons


def _with_worse_colour(step: Chroma, frames: Iterator[FloatFrame], rng: np.random.Generator) -> Iterator[FloatFrame]:
    shrink, enlarge = _draw(step.shrink, rng), _draw(step.enlarge, rng)
    for frame, x, y in zip(frames, walk(step.shift, rng), walk(step.shift, rng), strict=False):
        yield subsampled(frame, shrink=shrink, enlarge=enlarge, shift=(x, y))


def _compressed(step: VideoCompression, frames: Iterator[FloatFrame], rng: np.random.Generator) -> Iterator[FloatFrame]:
    encoder = _draw(step.encoders, rng)
    crf = next(walk(step.crf, rng)) if step.crf else None
    bits_per_frame = next(walk(step.bits_per_frame, rng)) if step.bits_per_frame else None
    return video(frames, encoder, crf=crf, bits_per_frame=bits_per_frame, speed=step.speed)


def _quantised(frames: Iterator[FloatFrame]) -> Iterator[FloatFrame]:
    for frame in frames:
        yield np.rint(frame.clip(0, 1) * 255) / np.float32(255)


def _draw(weights: Mapping[_Name, float], rng: np.random.Generator) -> _Name:
    names = list(weights)
    shares = np.array([weights[name] for name in names])
    return names[rng.choice(len(names), p=shares / shares.sum())]
