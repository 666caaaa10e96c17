"""How a frame is cut into tiles: equal ones, with exact seams where the network sees a little, else blended ones.

Loads no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from vsr_pipeline.config import SMALLEST_TILE

BLENDED_OVERLAP = 40
"""LQ pixels that a tile has around its core where the network sees farther than tiles can. With Real-ESRGAN's x4plus,
400x240 in tiles of 128, the worst strip of 32 HR pixels beside a seam has 58 dB against the whole (24: 45 dB)."""

AUTOMATIC_SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, SMALLEST_TILE)

MemoryBytes = Callable[[int, int], int]
"""Memory in bytes for a height and width in LQ pixels."""


@dataclass(frozen=True, slots=True)
class Span:
    """Along one axis, in LQ pixels: what the network sees, and the part of it that the tile is for."""

    start: int
    stop: int
    core_start: int
    core_stop: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """A frame as a grid of tiles, all of which have one size.

    Attributes:
        height: of the frame, in LQ pixels, extended to what the network wants.
        width: of the frame, in the same way.
        rows: the tiles' vertical spans, from top to bottom; their cores cover the height without overlap.
        columns: the horizontal ones, from left to right.
        overlap: LQ pixels that a tile has around its core, except at the frame's border.
        is_exact: whether the result is that of the whole frame, but for rounding.
    """

    height: int
    width: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    overlap: int
    is_exact: bool

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of what the network sees at a time, in LQ pixels."""
        return self.rows[0].stop - self.rows[0].start, self.columns[0].stop - self.columns[0].start


def plan_tiles(height: int, width: int, *, tile: int, radius: int | None, multiple_of: int = 1) -> Tiling:
    """Cut a frame into equal tiles; the same arguments always give the same tiles.

    Args:
        height: of the frame, in LQ pixels.
        width: of the frame, in LQ pixels.
        tile: largest side of a tile's core, in LQ pixels; 0: the whole frame at once.
        radius: the network's receptive radius in LQ pixels; None: larger than what is worth as an overlap.
        multiple_of: where tiles may begin and end.
    """
    if tile < 0 or min(height, width) < 1:
        raise ValueError(f"no tiles of {tile} in a frame of {width}x{height}")
    overlap = _rounded_up(BLENDED_OVERLAP if radius is None else radius, multiple_of)
    height, width = _rounded_up(height, multiple_of), _rounded_up(width, multiple_of)
    rows, columns = (
        _spans(length, tile=_rounded_up(tile or length, multiple_of), overlap=overlap, multiple_of=multiple_of)
        for length in (height, width)
    )
    is_exact = radius is not None or len(rows) == len(columns) == 1
    return Tiling(height, width, rows, columns, overlap, is_exact)


def automatic_tile(
    memory_bytes: MemoryBytes, height: int, width: int, *, radius: int | None, multiple_of: int = 1, limit_bytes: int
) -> int:
    """Return the largest tile whose memory is within a limit: 0 (the whole frame), or a side in LQ pixels.

    It depends on the network, the frame and the limit only, so all workers choose alike. The smallest tile is returned
    even where it is beyond the limit.
    """
    for tile in (0, *AUTOMATIC_SIDES):
        tiling = plan_tiles(height, width, tile=tile, radius=radius, multiple_of=multiple_of)
        if memory_bytes(*tiling.tile_size) <= limit_bytes:
            return tile
    return SMALLEST_TILE


def smaller_tile(tile: int, height: int, width: int) -> int | None:
    """Return the side to try after a tile was too large for the memory; None: there is none.

    Args:
        tile: the side that was too large, in LQ pixels; 0: the whole frame.
        height: of the frame, in LQ pixels.
        width: of the frame, in LQ pixels.
    """
    side = min(tile or max(height, width), max(height, width))
    return max(SMALLEST_TILE, ceil(side / 2)) if side > SMALLEST_TILE else None


def _spans(length: int, *, tile: int, overlap: int, multiple_of: int) -> tuple[Span, ...]:
    count = ceil(length / tile)
    units = length // multiple_of
    cuts = [units * k // count * multiple_of for k in range(count + 1)]
    cores = list(pairwise(cuts))
    window = min(length, max(stop - start for start, stop in cores) + 2 * overlap)
    # At a border the window is moved inwards, so that all tiles have one size: what is compiled or measured for one
    # holds for all.
    starts = [min(max(0, start - overlap), length - window) for start, _ in cores]
    return tuple(Span(start, start + window, *core) for start, core in zip(starts, cores, strict=True))


def _rounded_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
