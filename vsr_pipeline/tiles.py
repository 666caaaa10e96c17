"""A frame in overlapping tiles, one after the other: little memory, for more arithmetic."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise, tee

import numpy as np
import numpy.typing as npt

from vsr_pipeline.errors import InputError
from vsr_pipeline.media.frames import Pixels
from vsr_pipeline.timeline import Segment, Timeline
from vsr_pipeline.upscale import SCALE, OnWork, Upscaler

MIN_TILE = 64
GRID = 32
"""Sizes of tiles and overlaps are multiples of this: SPyNet stretches anything else to the next one, and its coarsest
level sees cells of this size. Off this grid, tiles were about 10 dB further from the whole frame."""
DEFAULT_OVERLAP = 32
"""Measured with BasicVSR's weights against the whole frame: 50.8 dB in the worst 16 columns of any frame's seam."""

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Span:
    """The part of one axis that a tile covers: LQ pixels `[start, stop)`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class TiledUpscaler:
    """Runs another upscaler on tiles of the frames and blends what it gives.

    The tiles advance together, window by window, so that the features of one tile's window are all that is held at a
    time. Between its turns a tile keeps its forward state and its lookahead frames. The input is read once; its frames
    are kept until the last tile has read them, which is a window and its lookahead later.

    Args:
        inner: makes the tiles; its plan and its decision on cleaning, which needs little memory, hold for all of them.
        tile: largest height and width of a tile in LQ pixels, overlap included; a multiple of 32, at least 64, which is
            the least that a network works on, and at least twice the overlap.
        overlap: LQ pixels that neighbours share, at least; a multiple of 32. Towards the inner edge of a tile its
            weight falls linearly.
        window_frames: how many frames the inner upscaler makes between two points at which it holds no features.
    """

    def __init__(self, inner: Upscaler, *, tile: int, window_frames: int, overlap: int = DEFAULT_OVERLAP) -> None:
        if tile % GRID or tile < MIN_TILE or overlap % GRID or not 0 <= overlap <= tile // 2 or window_frames < 1:
            raise ValueError(f"tiles of {tile} pixels with {overlap} shared, {window_frames} frames at a time")
        self._inner = inner
        self._tile = tile
        self._overlap = overlap
        self._window_frames = window_frames

    def plan(self, timeline: Timeline) -> tuple[Segment, ...]:
        """Cut as the inner upscaler does."""
        return self._inner.plan(timeline)

    def cleaning_passes(self, samples: Iterable[Pixels]) -> int:
        """Decide as the inner upscaler does, on whole frames."""
        return self._inner.cleaning_passes(samples)

    def upscale(
        self, frames: Iterable[Pixels], segment: Segment, *, cleaning_passes: int, on_work: OnWork
    ) -> Iterator[Pixels]:
        """Yield the HR frames of a segment; see `Upscaler`."""
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            raise InputError("the input ended before its first frame: was it changed meanwhile?")
        height, width = first.shape[:2]
        tiles = self._tiles_of(height, width)
        feeds = tee(chain([first], frames), len(tiles))
        outputs = [
            self._inner.upscale(
                map(tile.crop, feed),
                segment,
                cleaning_passes=cleaning_passes,
                on_work=lambda frames_done: on_work(frames_done / len(tiles)),
            )
            for tile, feed in zip(tiles, feeds, strict=True)
        ]
        del feeds, first  # a feed that is not read keeps every frame
        for start in range(segment.start, segment.stop, self._window_frames):
            count = min(self._window_frames, segment.stop - start)
            window = [list(islice(output, count)) for output in outputs]
            for parts in zip(*window, strict=True):
                yield _blend(parts, tiles, SCALE * height, SCALE * width)

    def _tiles_of(self, height: int, width: int) -> tuple["_Tile", ...]:
        rows, columns = (spans(length, tile=self._tile, overlap=self._overlap) for length in (height, width))
        return tuple(
            _Tile(row, column, row_weights[:, None, None], column_weights[None, :, None])
            for row, row_weights in zip(rows, ramps(rows), strict=True)
            for column, column_weights in zip(columns, ramps(columns), strict=True)
        )


def spans(length: int, *, tile: int, overlap: int) -> tuple[Span, ...]:
    """Cut an axis into as few parts as possible, of equal lengths of at most `tile`, that share `overlap` or more."""
    if length <= tile:
        return (Span(0, length),)
    count = -(-(length - overlap) // (tile - overlap))
    least = -(-(length + (count - 1) * overlap) // count)
    size = max(MIN_TILE, -(-least // GRID) * GRID)
    starts = (min(k * (size - overlap), length - size) for k in range(count))
    return tuple(Span(start, start + size) for start in starts)


def ramps(parts: tuple[Span, ...]) -> tuple[Weights, ...]:
    """Return for each part of an axis the weight of each of its HR pixels: linear ramps that sum to 1 everywhere."""
    weights = [np.ones(SCALE * len(part), np.float32) for part in parts]
    for (left, right), (a, b) in zip(pairwise(weights), pairwise(parts), strict=True):
        shared = SCALE * (a.stop - b.start)
        ramp = (np.arange(shared, dtype=np.float32) + 0.5) / shared
        left[len(left) - shared :] *= ramp[::-1]
        right[:shared] *= ramp
    # Where tiles are clamped to the least size, three of them can meet.
    total = np.zeros(SCALE * parts[-1].stop, np.float32)
    for part, weight in zip(parts, weights, strict=True):
        total[SCALE * part.start : SCALE * part.stop] += weight
    return tuple(
        weight / total[SCALE * part.start : SCALE * part.stop] for part, weight in zip(parts, weights, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Tile:
    """A tile's place in the frame, and the weights (4h, 1, 1) and (1, 4w, 1) of its HR pixels."""

    row: Span
    column: Span
    row_weights: Weights
    column_weights: Weights

    def crop(self, pixels: Pixels) -> Pixels:
        """Return the tile's part (h, w, 3) of an LQ frame."""
        return pixels[self.row.start : self.row.stop, self.column.start : self.column.stop]

    def add_to(self, frame: Weights, pixels: Pixels) -> None:
        """Add the tile's weighted HR pixels (4h, 4w, 3) to a frame (4H, 4W, 3)."""
        row, column = (slice(SCALE * part.start, SCALE * part.stop) for part in (self.row, self.column))
        frame[row, column] += (self.row_weights * self.column_weights) * pixels


def _blend(parts: tuple[Pixels, ...], tiles: tuple[_Tile, ...], height: int, width: int) -> Pixels:
    """Sum the weighted tiles of one HR frame (height, width, 3) in float32, and round."""
    frame = np.zeros((height, width, 3), np.float32)
    for pixels, tile in zip(parts, tiles, strict=True):
        tile.add_to(frame, pixels)
    blended: Pixels = np.rint(frame, out=frame).astype(parts[0].dtype)  # type: ignore[assignment]
    return blended
