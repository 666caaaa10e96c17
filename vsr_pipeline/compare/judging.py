"""What is measured of a model's pictures: against a reference, or of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

from vsr_pipeline.compare.making import Pictures
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.metrics.measure import resized
from vsr_pipeline.metrics.naturalness import NaturalnessMeter
from vsr_pipeline.metrics.scores import FrameScores, mean_scores, score_frames, with_naturalness
from vsr_pipeline.metrics.vmaf import VmafMeter
from vsr_pipeline.runtime.progress import Reporter

WARNING = (
    "NIQE and BRISQUE: less is better. They overrate over-sharpened pictures: trust your eyes, and a reference where "
    "there is one."
)
_LEAST_SIDE = 16
"""Of a picture that is compared, in pixels: the window of SSIM is 11 wide."""
_SHOWN = {
    "psnr_y": ("PSNR", ".2f", " dB"),
    "ssim_y": ("SSIM", ".4f", ""),
    "mse_y": ("MSE", ".2f", ""),
    "vmaf": ("VMAF", ".1f", ""),
    "niqe": ("NIQE", ".2f", ""),
    "brisque": ("BRISQUE", ".1f", ""),
}
"""Scores by their field, as label, format and unit; PSNR, SSIM and MSE are those of luma."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score of a model over all its pictures, with its name for people."""

    name: str
    value: float
    text: str


def against(reference: Pictures, pictures: Pictures, matrix: str | None, reporter: Reporter) -> tuple[FrameScores, ...]:
    """Compare pictures with what they should be.

    Args:
        reference: as many pictures; of another size, pictures are brought to theirs.
        pictures: a model's.
        matrix: of the reference's colours, for VMAF.
        reporter: is told where there is no VMAF.

    Raises:
        ResourceError: the disk is full.
    """
    if min(reference[0].shape[:2]) < _LEAST_SIDE:
        return ()
    with VmafMeter(matrix) as vmaf:
        scores = score_frames([(a, resized(b, a.shape)) for a, b in zip(reference, pictures, strict=True)], vmaf)
        if vmaf.failure:
            reporter.note(f"no VMAF: {vmaf.failure}")
    return scores


def naturalness(still: Pixels) -> tuple[FrameScores, ...]:
    """Measure NIQE and BRISQUE of a picture."""
    meter = NaturalnessMeter(1)
    meter.feed(0, still)
    return with_naturalness([FrameScores()], meter.scores)


def scores_of(frames: Sequence[FrameScores]) -> tuple[Score, ...]:
    """Return the means over pictures of what was measured."""
    if not frames:
        return ()
    means = mean_scores(tuple(frames))
    return tuple(
        Score(name, value, f"{value:{form}}{unit}")
        for key, (name, form, unit) in _SHOWN.items()
        if (value := getattr(means, key)) is not None
    )
