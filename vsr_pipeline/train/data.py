"""Training sequences. Sample k of a run is a function of the seed and k alone, so that a run resumes where it was."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr_pipeline.degrade.chroma import saturated
from vsr_pipeline.degrade.degradation import Degradation
from vsr_pipeline.degrade.resize import bicubic_quarter
from vsr_pipeline.errors import InputError
from vsr_pipeline.train.config import RunConfig
from vsr_pipeline.train.network import Sample
from vsr_pipeline.train.sources import (
    Frames,
    Source,
    crop_span,
    draw_motion,
    pan_still,
    read_span,
    read_still,
)

# A video's frames are decoded once for many sequences: for every POOL_AGE sequences a pool of spans is drawn.
_POOL_AGE = 256
_POOL_SPANS = 8

_ATTEMPTS = 20


class Sequences(Dataset[Sample]):
    """Sample k of a run, for any k.

    Args:
        sources: the files.
        config: of the run.
        seed: decides on everything that is drawn.
        with_truth: whether samples have the truth in full size.
    """

    def __init__(self, sources: tuple[Source, ...], config: RunConfig, *, seed: int, with_truth: bool) -> None:
        self._stills = [source for source in sources if source.kind == "still"]
        self._videos = [source for source in sources if source.kind == "video"]
        self._data = config.data
        self._sharpen = config.losses.sharpen
        self._sharpen_spoiled = config.losses.sharpen_spoiled
        self._with_truth = with_truth
        self._seed = seed
        self._degradation = Degradation(config.degradation)
        self._cache = _Cache(int(config.data.cache_gib * 2**30))

    def __len__(self) -> int:
        return 2**62  # samples never end; the sampler says which are taken

    def __getitem__(self, k: int) -> Sample:
        """Make sample `k`.

        Raises:
            InputError: twenty files in a row could not be read, or are too short.
        """
        rng = np.random.default_rng((self._seed, k))
        truth = self._augmented(self._clip(k, rng), rng)
        if self._data.saturation != (1.0, 1.0):
            factor = rng.uniform(*self._data.saturation)
            truth = np.rint(255 * saturated(truth.astype(np.float32) / 255, factor)).astype(np.uint8)
        if self._data.mirror:
            truth = np.concatenate((truth, truth[::-1]))
        sharp = sharpened(truth) if self._sharpen else truth
        frames = sharp.astype(np.float32) / 255
        quarter = self._data.truth_size // 4
        lq = self._degradation.degrade(frames, (quarter, quarter), rng)
        seen = self._seen(len(frames), rng)
        clean = bicubic_quarter(frames[seen])
        sample = {"lq": _tensor(np.round(lq[seen] * 255).astype(np.uint8)), "clean": _tensor(clean)}
        if self._with_truth:
            sample["truth"] = _tensor(truth[seen])
            if self._sharpen:
                sample["sharp"] = _tensor(sharp[seen])
            elif self._sharpen_spoiled:
                error = float(np.mean(np.square(255 * (lq[seen] - clean))))
                sample["sharp"] = _tensor(crisper(truth[seen], self._sharpen_spoiled * error / 100))
        return sample

    def _seen(self, length: int, rng: np.random.Generator) -> slice:
        """Return which frames of a sequence that was spoiled whole the network sees."""
        if not self._data.spoiled_frames:
            return slice(0, length)
        first = int(rng.integers(length - self._data.frames + 1))
        return slice(first, first + self._data.frames)

    def _clip(self, k: int, rng: np.random.Generator) -> Frames:
        """Return the truth (T, size, size, 3) of sample k, from the first drawn source that gives enough."""
        for _ in range(_ATTEMPTS):
            from_video = not self._stills or (bool(self._videos) and rng.random() < self._data.video_share)
            try:
                clip = self._from_video(k, rng) if from_video else self._from_still(rng)
            except InputError:
                continue  # it was fit when the run began
            if len(clip) == self._data.read_frames:
                return clip
        raise InputError(
            f"{_ATTEMPTS} training files in a row could not be read or have fewer than {self._data.read_frames} frames "
            "without a cut: lower data.frames or data.spoiled_frames, or add longer videos or images"
        )

    def _from_still(self, rng: np.random.Generator) -> Frames:
        source = self._stills[rng.integers(len(self._stills))]
        still = self._cache.get((source.path, 0.0), lambda: read_still(source.path))
        size, (low, high) = self._data.truth_size, self._data.still_shrink
        shrink = _draw_shrink(rng, low, high, min(still.shape[:2]) / size)
        return pan_still(still, self._data.read_frames, size, shrink, draw_motion(rng), rng, self._data.candidates)

    def _from_video(self, k: int, rng: np.random.Generator) -> Frames:
        pool = np.random.default_rng((self._seed, k // _POOL_AGE, int(rng.integers(_POOL_SPANS))))
        source = self._videos[pool.integers(len(self._videos))]
        count = self._data.read_frames
        start = pool.random() * max(0.0, source.duration_seconds - count / 24)
        span = self._cache.get((source.path, start), lambda: read_span(source.path, start, count))
        size, (low, high) = self._data.truth_size, self._data.video_shrink
        shrink = _draw_shrink(rng, low, high, min(span.shape[1:3]) / size)
        return crop_span(span, size, shrink, rng, self._data.candidates)

    def _augmented(self, clip: Frames, rng: np.random.Generator) -> Frames:
        if not self._data.flips:
            return clip
        horizontal, vertical, transpose = rng.random(3) < 0.5
        clip = clip[:, :, ::-1] if horizontal else clip
        clip = clip[:, ::-1] if vertical else clip
        return clip.transpose(0, 2, 1, 3) if transpose else clip


class _Cache:
    """Decoded pictures, the latest used ones up to a number of bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[tuple[Path, float], Frames] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[Path, float], read: Callable[[], Frames]) -> Frames:
        if key not in self._held:
            self._held[key] = read()
            self._bytes += self._held[key].nbytes
        self._held.move_to_end(key)
        while self._bytes > self._limit_bytes and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return self._held[key]


def batches(sequences: Dataset[Sample], samples: Sequence[int], *, batch: int, workers: int) -> Iterator[Sample]:
    """Yield samples in batches, prepared by processes beside this one, or in it where `workers` is 0."""
    loader = DataLoader(
        sequences,
        batch_size=batch,
        sampler=samples,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # A forked copy of a process that computes with threads may hang.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_begin_worker,
    )
    yield from loader


def _begin_worker(_: int) -> None:
    import signal

    # Ctrl-C reaches the whole process group; the training process ends its workers when it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def sharpened(frames: Frames) -> Frames:
    """Unsharp mask: kernel of 51 pixels, weight 0.5, where the detail exceeds 10 of 255, with a soft border."""
    result = np.empty_like(frames)
    for n, frame in enumerate(frames.astype(np.float32)):
        detail = frame - cv2.GaussianBlur(frame, (51, 51), 0)
        mask = cv2.GaussianBlur((np.abs(detail) > 10).astype(np.float32), (51, 51), 0)
        sharp = np.clip(frame + 0.5 * detail, 0, 255)
        result[n] = np.round(mask * sharp + (1 - mask) * frame)
    return result


def crisper(frames: Frames, weight: float) -> Frames:
    """Unsharp mask for what bad footage should become: a Gaussian of 3 pixels, a weight of 0.4 at most.

    Where little of the truth can be known, its mean is the best guess in decibels, and is dull. This much more contrast
    in details of 4 to 20 pixels costs hardly any decibels there, and is seen (docs/training-log.md has numbers).
    """
    weight = min(weight, 0.4)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in frames.astype(np.float32)])
    return np.rint(np.clip((1 + weight) * frames - weight * blurred, 0, 255)).astype(np.uint8)


def _draw_shrink(rng: np.random.Generator, low: float, high: float, available: float) -> float:
    """Draw a factor, small ones as often as large ones, as far as the picture is large enough."""
    high = min(high, available)
    return float(np.exp(rng.uniform(np.log(min(low, high)), np.log(high))))


def _tensor(frames_THWC: "np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.float32]]") -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames_THWC.transpose(0, 3, 1, 2)))
