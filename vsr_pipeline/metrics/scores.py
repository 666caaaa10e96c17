"""Frames compared one by one, and what a clip scores."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from vsr_pipeline.media.images import Pixels
from vsr_pipeline.metrics.fidelity import luma, psnr, ssim, to_255
from vsr_pipeline.metrics.flicker import FlickerMeter
from vsr_pipeline.metrics.vmaf import VmafMeter


@dataclass(frozen=True, slots=True)
class FrameScores:
    """What one frame scores; PSNR in dB (infinite for equal frames), SSIM up to 1, VMAF 0 to 100, flicker from 0."""

    psnr_rgb: float
    psnr_y: float
    ssim_rgb: float
    ssim_y: float
    flicker: float | None = None
    """None for a frame without one before it in its shot; see `FlickerMeter`."""
    vmaf: float | None = None
    vmaf_neg: float | None = None


@dataclass(frozen=True, slots=True)
class Scores(FrameScores):
    """Means over the frames of a clip that have the score; None where no frame has."""

    frame_count: int = 0


def score_frames(
    pairs: Iterable[tuple[Pixels, Pixels]], vmaf: VmafMeter | None = None, on_frame: Callable[[], object] = lambda: None
) -> tuple[FrameScores, ...]:
    """Compare two clips frame by frame.

    Args:
        pairs: a reference frame and a distorted one (H, W, 3) of the same size, each of 8 or 16 bits.
        vmaf: measures VMAF, where that is wanted.
        on_frame: called for each pair.

    Raises:
        ValueError: two frames have different sizes.
        InputError, ResourceError: as `VmafMeter.feed`.
    """
    flicker = FlickerMeter()
    frames = []
    for reference, distorted in pairs:
        a, b = to_255(reference), to_255(distorted)
        a_y, b_y = luma(a), luma(b)
        ssim_rgb = sum(ssim(a[..., c], b[..., c]) for c in range(3)) / 3
        frames.append(FrameScores(psnr(a, b), psnr(a_y, b_y), ssim_rgb, ssim(a_y, b_y), flicker.feed(a_y, b_y)))
        if vmaf:
            vmaf.feed(a, b, bits=8 * max(reference.itemsize, distorted.itemsize))
        on_frame()
    scored = vmaf.finish() if vmaf else None
    if scored:
        frames = [replace(f, vmaf=v, vmaf_neg=neg) for f, (v, neg) in zip(frames, scored, strict=True)]
    return tuple(frames)


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
    return Scores(**means, frame_count=len(frames))


def score(pairs: Iterable[tuple[Pixels, Pixels]]) -> Scores:
    """Compare two clips that are in memory, without VMAF; see `score_frames`.

    Raises:
        ValueError: two frames have different sizes, or there are none.
    """
    return mean_scores(score_frames(pairs))
