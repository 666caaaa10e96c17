"""Frames compared one by one, and what a clip scores."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from vsr_pipeline.media.images import Pixels
from vsr_pipeline.metrics.fidelity import FloatArray, luma, mse, psnr_of, ssim, to_255
from vsr_pipeline.metrics.flicker import FlickerMeter
from vsr_pipeline.metrics.naturalness import Naturalness, NaturalnessMeter
from vsr_pipeline.metrics.perceptual import PerceptualMeter
from vsr_pipeline.metrics.vmaf import VmafMeter


@dataclass(frozen=True, slots=True)
class FrameScores:
    """What one frame scores; None where it was not measured. More is better, from `flicker` on less.

    PSNR is in dB, and infinite for equal frames; SSIM goes up to 1, VMAF from 0 to 100, flicker, MSE and
    the perceptual distance from 0.
    """

    psnr_rgb: float | None = None
    psnr_y: float | None = None
    ssim_rgb: float | None = None
    ssim_y: float | None = None
    vmaf: float | None = None
    vmaf_neg: float | None = None
    flicker: float | None = None
    """None for a frame without one before it in its shot; see `FlickerMeter`."""
    mse_rgb: float | None = None
    mse_y: float | None = None
    niqe: float | None = None
    """None for a frame outside the sample, as in the two below; see `Sample`."""
    brisque: float | None = None
    perceptual: float | None = None


@dataclass(frozen=True, slots=True)
class Scores(FrameScores):
    """Means over the frames of a clip that have the score; None where no frame has."""

    frame_count: int = 0
    sampled_frame_count: int = 0
    """Frames that NIQE, BRISQUE or the perceptual distance were measured of."""


def score_frames(
    pairs: Iterable[tuple[Pixels, Pixels]],
    vmaf: VmafMeter | None = None,
    on_frame: Callable[[], object] = lambda: None,
    *,
    naturalness: NaturalnessMeter | None = None,
    perceptual: PerceptualMeter | None = None,
) -> tuple[FrameScores, ...]:
    """Compare two clips frame by frame.

    Args:
        pairs: a reference frame and a distorted one (H, W, 3) of the same size, each of 8 or 16 bits.
        vmaf: measures VMAF, where that is wanted.
        on_frame: called for each pair.
        naturalness: measures NIQE and BRISQUE of the distorted frames, where that is wanted.
        perceptual: measures the perceptual distance, where that is wanted.

    Raises:
        ValueError: two frames have different sizes.
        InputError, ResourceError: as `VmafMeter.feed`.
    """
    flicker = FlickerMeter()
    frames = []
    for index, (reference, distorted) in enumerate(pairs):
        a, b = to_255(reference), to_255(distorted)
        frames.append(_compared(a, b, flicker))
        if vmaf:
            vmaf.feed(a, b, bits=8 * max(reference.itemsize, distorted.itemsize))
        if naturalness and naturalness.wants(index):
            naturalness.feed(index, distorted)
        if perceptual and perceptual.wants(index):
            perceptual.feed(index, a, b)
        on_frame()
    scored = vmaf.finish() if vmaf else None
    if scored:
        frames = [replace(f, vmaf=v, vmaf_neg=neg) for f, (v, neg) in zip(frames, scored, strict=True)]
    if perceptual:
        distances = perceptual.scores
        frames = [replace(frame, perceptual=distances.get(index)) for index, frame in enumerate(frames)]
    return with_naturalness(frames, naturalness.scores) if naturalness else tuple(frames)


def _compared(a: FloatArray, b: FloatArray, flicker: FlickerMeter) -> FrameScores:
    a_y, b_y = luma(a), luma(b)
    mse_rgb, mse_y = mse(a, b), mse(a_y, b_y)
    return FrameScores(
        psnr_rgb=psnr_of(mse_rgb),
        psnr_y=psnr_of(mse_y),
        ssim_rgb=sum(ssim(a[..., c], b[..., c]) for c in range(3)) / 3,
        ssim_y=ssim(a_y, b_y),
        flicker=flicker.feed(a_y, b_y),
        mse_rgb=mse_rgb,
        mse_y=mse_y,
    )


def with_naturalness(frames: Sequence[FrameScores], sample: Mapping[int, Naturalness]) -> tuple[FrameScores, ...]:
    """Add NIQE and BRISQUE to the scores of those frames whose index is in the sample."""
    return tuple(
        replace(frame, niqe=sample[index].niqe, brisque=sample[index].brisque) if index in sample else frame
        for index, frame in enumerate(frames)
    )


def mean_scores(frames: tuple[FrameScores, ...]) -> Scores:
    """Return the means over the frames.

    Raises:
        ValueError: there are none.
    """
    if not frames:
        raise ValueError("there are no frames to compare")
    means: dict[str, Any] = {}
    for field in fields(FrameScores):
        values = [value for frame in frames if (value := getattr(frame, field.name)) is not None]
        means[field.name] = sum(values) / len(values) if values else None
    sampled = sum((frame.niqe, frame.brisque, frame.perceptual) != (None, None, None) for frame in frames)
    return Scores(**means, frame_count=len(frames), sampled_frame_count=sampled)


def score(pairs: Iterable[tuple[Pixels, Pixels]]) -> Scores:
    """Compare two clips that are in memory, without VMAF; see `score_frames`.

    Raises:
        ValueError: two frames have different sizes, or there are none.
    """
    return mean_scores(score_frames(pairs))
