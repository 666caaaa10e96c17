"""What kind of footage a clip is, measured on a few frames; and which preset suits that, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vsr_pipeline.clip.damage import damage_of
from vsr_pipeline.clip.footage import Footage
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.plan import sample_indices
from vsr_pipeline.timeline import Shot, VideoInfo

_SAMPLES = 6
_FLAT_RANGE = 2
_GREY = 3.0
_SD_LINES = 576
_TAPE_NOISE = 1.5
_SCREEN_FLAT = 0.6
_SCREEN_COLOURS = 0.85
_DRAWN_FLAT = 0.25
# Compressed footage of cameras has up to 35 % of flat areas, and, at 26 %, up to 82 % in 16 colours.
_DRAWN_FLAT_ALONE = 0.3
_DRAWN_COLOURS = 0.85
_DRAWN_REPEATED = 0.3


@dataclass(frozen=True, slots=True)
class Traits:
    """What was measured of a clip."""

    interlaced: bool
    blockiness: float
    """As of `Damage`; so is `noise`."""
    noise: float
    flat: float
    """Share of the picture, in blocks of 8x8 pixels, whose brightness changes by 2 of 255 at most."""
    few_colours: float
    """Share of the picture that its 16 most frequent colours have, of 4096."""
    grey: bool
    repeated: float
    """Share of the frames that are equal to the one before."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A preset, or none, and the reason in a sentence; and what it was judged by."""

    preset: str | None
    why: str
    traits: Traits

    def __str__(self) -> str:
        return f"--preset {self.preset}: {self.why}" if self.preset else f"no preset: {self.why}"


def propose(footage: Footage) -> Proposal:
    """Look at frames evenly spread over a clip, and propose a preset for what it is.

    Raises:
        InputError: a frame cannot be read.
    """
    indices = sample_indices(Shot(0, len(footage.timeline.distinct)), _SAMPLES)
    with footage.open() as source:
        frames = [next(iter(source.read(i, i + 1))) for i in indices]
    timeline = footage.timeline
    repeated = len(timeline.repeats) / timeline.frame_count
    traits = traits_of(frames, interlaced=timeline.deinterlace is not None, repeated=repeated)
    preset, why = preset_for(footage.header.info, traits)
    return Proposal(preset, why, traits)


def traits_of(frames: Sequence[Pixels], *, interlaced: bool, repeated: float) -> Traits:
    """Measure frames (H, W, 3)."""
    damage = damage_of(frames)
    eight_bits = [frame if frame.itemsize == 1 else (frame >> 8).astype(np.uint8) for frame in frames]
    return Traits(
        interlaced=interlaced,
        blockiness=round(damage.blockiness, 3),
        noise=round(damage.noise, 2),
        flat=round(float(np.mean([_flat(frame) for frame in eight_bits])), 3),
        few_colours=round(float(np.mean([_few_colours(frame) for frame in eight_bits])), 3),
        repeated=round(repeated, 3),
        grey=max(_colourfulness(frame) for frame in eight_bits) < _GREY,
    )


def preset_for(info: VideoInfo, traits: Traits) -> tuple[str | None, str]:
    """Return the first kind that what was measured speaks for, and what that was.

    What is flat to the last bit was painted by a computer; a camera and a scanner make grain. Drawn film has flat faces
    and few colours, too, and shows each drawing twice.
    """
    lines = min(info.display_size)
    if traits.flat >= _SCREEN_FLAT and traits.few_colours >= _SCREEN_COLOURS:
        return "screen", f"{traits.flat:.0%} of it is flat, and 16 colours make {traits.few_colours:.0%} of it"
    if traits.grey:
        return "archive", "it has no colours"
    if lines <= _SD_LINES and traits.interlaced:
        if traits.noise >= _TAPE_NOISE:
            return (
                "vhs",
                f"it is interlaced, of {info.display_size[1]} lines, and has noise of {traits.noise:.1f} of 255",
            )
        return "dvd", f"it is interlaced, of {info.display_size[1]} lines, and has little noise"
    if lines <= _SD_LINES and info.codec == "mpeg2video":
        return "dvd", f"it is MPEG-2 of {info.display_size[1]} lines"
    if info.rotation_degrees:
        return "phone", "it is turned by its rotation tag, as phones record"
    if info.display_size[0] < info.display_size[1]:
        return "phone", "it is upright, as phones record"
    has_few_colours = traits.flat >= _DRAWN_FLAT_ALONE and traits.few_colours >= _DRAWN_COLOURS
    if has_few_colours or (traits.flat >= _DRAWN_FLAT and traits.repeated >= _DRAWN_REPEATED):
        return "anime", (
            f"{traits.flat:.0%} of it is flat, 16 colours make {traits.few_colours:.0%} of it, and "
            f"{traits.repeated:.0%} of its frames repeat the one before"
        )
    return None, "nothing in it speaks for one; the defaults suit it"


def _flat(frame: Pixels) -> float:
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    rows, columns = (side // 8 * 8 for side in luma.shape)
    blocks = luma[:rows, :columns].reshape(rows // 8, 8, columns // 8, 8).astype(np.int16)
    return float(np.mean(blocks.max((1, 3)) - blocks.min((1, 3)) <= _FLAT_RANGE))


def _few_colours(frame: Pixels) -> float:
    levels = (frame >> 4).astype(np.int32)
    counts = np.bincount((levels[..., 0] * 256 + levels[..., 1] * 16 + levels[..., 2]).ravel(), minlength=4096)
    return float(np.sort(counts)[-16:].sum() / counts.sum())


def _colourfulness(frame: Pixels) -> float:
    """How far colours are from the frame's own mean tint, so that a yellowed print is grey, too."""
    differences = frame[..., :2].astype(np.float32) - frame[..., 1:].astype(np.float32)
    return float(np.abs(differences - np.median(differences, axis=(0, 1))).mean())
