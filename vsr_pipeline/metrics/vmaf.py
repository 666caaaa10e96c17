"""VMAF and VMAF-NEG, computed by the ffmpeg program's libvmaf."""

import json
import os
import tempfile
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import ffmpeg
import numpy as np

from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.colour import LUMA_WEIGHTS, guess_matrix
from vsr_pipeline.media.ffmpeg import input_file, run_ffmpeg
from vsr_pipeline.metrics.fidelity import FloatArray
from vsr_pipeline.runtime.files import write_failure

_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
_CHUNK_BYTES = 256_000_000
"""Size of each of the two temporary files; a longer clip is measured piece by piece."""
_OVERLAP_FRAMES = 2
"""VMAF's motion feature looks one frame back and one ahead: with this overlap the pieces score as the whole does."""

Luma = tuple[bytes, bytes]
"""A frame of the reference and one of the distorted clip, as libvmaf reads them."""


class VmafMeter:
    """Collects the frames of two clips and scores them. A context manager: it holds temporary files.

    VMAF looks at luma alone. Both sides are given to it as luma of 8 bits in studio range (10 bits where the clip has
    more than 8), made from RGB in the same way, so that no difference comes from the conversion.

    Args:
        matrix: which luma, by the name of a colour matrix; unknown: BT.601 for small frames, BT.709 for large ones.
    """

    def __init__(self, matrix: str | None = None) -> None:
        self._matrix = matrix
        self._folder = tempfile.TemporaryDirectory(prefix="vsr-vmaf-")
        self._files: list[BinaryIO] = []
        self._size = (0, 0)
        self._bits = 8
        self._in_files = 0
        self._tail: deque[Luma] = deque(maxlen=_OVERLAP_FRAMES)
        self._scores: list[tuple[float, float]] = []
        self.failure: str | None = None
        """Why there is no VMAF; None as long as there is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._folder.cleanup()

    def feed(self, reference: FloatArray, distorted: FloatArray, *, bits: int) -> None:
        """Take the next frame of both clips: RGB (H, W, 3), 0 to 255; `bits` is their depth.

        Raises:
            InputError: the frame has another size than the first one.
            ResourceError: the disk is full.
        """
        if self.failure:
            return
        if not self._files and not self._scores:
            self._size = (reference.shape[1], reference.shape[0])
            self._bits = 8 if bits == 8 else 10
        if reference.shape[1::-1] != self._size:
            raise InputError(
                f"the frame size changes from {'x'.join(map(str, self._size))} to "
                f"{reference.shape[1]}x{reference.shape[0]}: all frames of a clip have one size (or give --no-vmaf)"
            )
        self._write((self._coded(reference), self._coded(distorted)))
        frame_bytes = len(self._tail[-1][0])
        if self._in_files >= max(_OVERLAP_FRAMES + 2, _CHUNK_BYTES // frame_bytes):
            self._score(last=False)

    def finish(self) -> list[tuple[float, float]] | None:
        """Return VMAF and VMAF-NEG of each frame; None where they could not be computed (see `failure`)."""
        if not self.failure and self._files:
            self._score(last=True)
        return None if self.failure else self._scores

    def _write(self, frame: Luma) -> None:
        try:
            if not self._files:
                folder = Path(self._folder.name)
                self._files = [(folder / name).open("wb") for name in ("reference.yuv", "distorted.yuv")]
            for file, data in zip(self._files, frame, strict=True):
                file.write(data)
        except OSError as error:
            raise write_failure(Path(self._folder.name), error) from error
        self._in_files += 1
        self._tail.append(frame)

    def _coded(self, rgb: FloatArray) -> bytes:
        """4:2:0 with luma in studio range and grey for chroma, because libvmaf's filter takes no bare luma."""
        height, width = rgb.shape[:2]
        red, blue = LUMA_WEIGHTS.get(self._matrix or "") or LUMA_WEIGHTS[guess_matrix(width, height)]
        step = 2 ** (self._bits - 8)
        luma = (16 + rgb @ np.array([red, 1 - red - blue, blue]) * (219 / 255)) * step
        dtype = np.uint8 if self._bits == 8 else np.dtype("<u2")
        chroma_samples = 2 * ((width + 1) // 2) * ((height + 1) // 2)
        return bytes(np.rint(luma).astype(dtype).tobytes() + np.full(chroma_samples, 128 * step, dtype).tobytes())

    def _score(self, *, last: bool) -> None:
        """Score what is in the files, as far as both neighbours of a frame are there, and begin new ones."""
        self._close()
        try:
            scores = self._run()
        except OutputError as error:
            lacking = "ilter not found" in str(error) or "No such filter" in str(error)
            remedy = "this ffmpeg was built without libvmaf; unset VSR_FFMPEG or name another"
            self.failure = remedy if lacking else str(error)
            return
        first = 1 if self._scores else 0  # there only as the neighbour of the next
        self._scores += scores[first : None if last else -1]
        self._in_files = 0
        if not last:
            for frame in tuple(self._tail):
                self._write(frame)

    def _run(self) -> list[tuple[float, float]]:
        folder = Path(self._folder.name)
        log = folder / "vmaf.json"
        pixel_format = "yuv420p" if self._bits == 8 else "yuv420p10le"
        size = "x".join(map(str, self._size))
        raw: dict[str, str | int] = {"f": "rawvideo", "pix_fmt": pixel_format, "s": size, "framerate": 25}
        sides = [input_file(folder / name, **raw) for name in ("distorted.yuv", "reference.yuv")]
        models = "|".join(f"version={version}:name={name}" for name, version in _MODELS.items())
        measured = ffmpeg.filter(
            sides, "libvmaf", model=models, log_fmt="json", log_path=log.as_posix(), n_threads=os.cpu_count() or 1
        )
        run_ffmpeg(ffmpeg.output(measured, "-", format="null"), what="measuring VMAF")
        frames = json.loads(log.read_text(encoding="utf-8"))["frames"]
        return [(frame["metrics"]["vmaf"], frame["metrics"]["vmaf_neg"]) for frame in frames]

    def _close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []
