"""What kind of footage a clip is, measured on a few frames; and which preset suits that, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

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
# Of real clips of cameras, compressed as they come, up to 53 % is flat, 16 colours make up to 99 %, and beside edges up
# to 26 % is flat; of screens and of drawings that is 38 % or more. Edges of drawn film are lines of some pixels.
_FEW_COLOURS = 0.85
_LEAST_EDGES = 0.025
_SCREEN_FLAT, _SCREEN_CLEAN, _SCREEN_SHARP = 0.4, 0.35, 0.17
_DRAWN_FLAT, _DRAWN_CLEAN = 0.3, 0.5
_REPEATED, _REPEATED_FLAT, _REPEATED_CLEAN = 0.3, 0.25, 0.35
_FILM_FLAT = 0.6
# What an edge is, of 255; and how much of it two pixels have that lie side by side, where it is sharp.
_EDGE, _SHARP_SHARE = 64, 0.8
_REACH = 5


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
    edges: float
    """Share of the blocks in which brightness changes by 64 of 255 or more."""
    clean_edges: float
    """Share of the blocks beside those that is flat."""
    sharp_edges: float
    """Share of the edges, across, that are made within two pixels."""
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
    shares = np.array([_edges(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in eight_bits])
    flat, edges = shares[:, :2].mean(axis=0)
    clean, sharp = np.average(shares[:, 2:], axis=0, weights=shares[:, 1]) if edges else (0.0, 0.0)
    return Traits(
        interlaced=interlaced,
        blockiness=round(damage.blockiness, 3),
        noise=round(damage.noise, 2),
        flat=round(float(flat), 3),
        few_colours=round(float(np.mean([_few_colours(frame) for frame in eight_bits])), 3),
        edges=round(float(edges), 3),
        clean_edges=round(float(clean), 3),
        sharp_edges=round(float(sharp), 3),
        repeated=round(repeated, 3),
        grey=max(_colourfulness(frame) for frame in eight_bits) < _GREY,
    )


def preset_for(info: VideoInfo, traits: Traits) -> tuple[str | None, str]:
    """Return the first kind that what was measured speaks for, and what that was.

    What a computer painted is flat up to its edges; a camera and a scanner make grain, and a lens makes soft edges.
    Where that is in doubt, nothing is proposed.
    """
    lines = min(info.display_size)
    if _is_screen(traits):
        return "screen", (
            f"{traits.flat:.0%} of it is flat, up to sharp edges, and 16 colours make {traits.few_colours:.0%} of it"
        )
    if traits.grey and traits.flat < _FILM_FLAT:
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
    if _is_drawn(traits):
        return "anime", (
            f"{traits.flat:.0%} of it is flat, up to its lines, 16 colours make {traits.few_colours:.0%} of it, and "
            f"{traits.repeated:.0%} of its frames repeat the one before"
        )
    return None, "nothing in it speaks for one; the defaults suit it"


def _is_screen(traits: Traits) -> bool:
    return (
        traits.few_colours >= _FEW_COLOURS
        and traits.flat >= _SCREEN_FLAT
        and traits.edges >= _LEAST_EDGES
        and traits.clean_edges >= _SCREEN_CLEAN
        and traits.sharp_edges >= _SCREEN_SHARP
    )


def _is_drawn(traits: Traits) -> bool:
    if traits.edges < _LEAST_EDGES or traits.sharp_edges >= _SCREEN_SHARP:
        return False
    has_few_colours = traits.few_colours >= _FEW_COLOURS
    if has_few_colours and traits.flat >= _DRAWN_FLAT and traits.clean_edges >= _DRAWN_CLEAN:
        return True
    is_held = traits.repeated >= _REPEATED
    return is_held and traits.flat >= _REPEATED_FLAT and traits.clean_edges >= _REPEATED_CLEAN


def _edges(luma: npt.NDArray[Any]) -> tuple[float, float, float, float]:
    """Return the shares of a picture (H, W): `flat`, `edges`, `clean_edges` and `sharp_edges` of its `Traits`."""
    rows, columns = (side // 8 for side in luma.shape)
    blocks = luma[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).astype(np.int16)
    if not blocks.size:
        return 0.0, 0.0, 0.0, 0.0
    ranges = blocks.max((1, 3)) - blocks.min((1, 3))
    is_flat, is_edge = ranges <= _FLAT_RANGE, ranges >= _EDGE
    around = cv2.dilate(is_edge.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    values = luma.astype(np.int16)
    near = np.abs(values[:, 2:] - values[:, :-2])[:, _REACH - 1 : 1 - _REACH]
    far = np.abs(values[:, 2 * _REACH :] - values[:, : -2 * _REACH])
    is_large = far >= _EDGE
    return (
        _share(is_flat),
        _share(is_edge),
        _share(is_flat[around & ~is_edge]),
        _share(near[is_large] >= _SHARP_SHARE * far[is_large]),
    )


def _share(mask: npt.NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _few_colours(frame: Pixels) -> float:
    levels = (frame >> 4).astype(np.int32)
    counts = np.bincount((levels[..., 0] * 256 + levels[..., 1] * 16 + levels[..., 2]).ravel(), minlength=4096)
    return float(np.sort(counts)[-16:].sum() / counts.sum())


def _colourfulness(frame: Pixels) -> float:
    """How far colours are from the frame's own mean tint, so that a yellowed print is grey, too."""
    differences = frame[..., :2].astype(np.float32) - frame[..., 1:].astype(np.float32)
    return float(np.abs(differences - np.median(differences, axis=(0, 1))).mean())
