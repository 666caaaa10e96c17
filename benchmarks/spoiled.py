"""Models on clips that were spoiled as old footage is, against bicubic and against BasicVSR without cleaning.

    python benchmarks/spoiled.py --cache FOLDER [--models MODEL ...] [--truth PATH ...] [--strengths ...]
                                 [--frames N] [--seed N] [--json FILE]

The truth (by default calendar and city of Vid4, from `$VSR_TEST_DATA/data/clips/vid4`, default `../shared`; or any
video or folder of images) is spoiled in four strengths:

    strength  blur of the truth   quarter of it           noise        H.264 4:2:0
    clean     none                                        none         none (this is BIx4)
    mild      none                MATLAB-style            sigma 3      CRF 24
    medium    Gaussian, 0.8 px    antialiased bicubic     sigma 8      CRF 28
    heavy     Gaussian, 1.5 px                            sigma 16     CRF 33

This is what `vsr degrade` does in these strengths, but made by code of its own: models are trained with that, and a
fault in it must not pass for a success here. Both agree as two seeds of the noise do.

A model is a name of `vsr models list`, bicubic-x4, or the path of a checkpoint; `:cleaning=1`, `:detail=0.5`,
`:precision=int8` or `:refine=MODEL` after it sets that option. C is the PSNR of Cb and Cr, P the perceptual distance,
of which less is better; it and NIQE are measured on a sample of the frames.
Inputs, outputs and scores are kept in the cache while what they are made from stays the same; a
checkpoint that has changed is computed again, under its name.
The cache knows weights, settings and the code of the metrics, not that of the networks: delete it when that changes.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from vsr_pipeline import metrics
from vsr_pipeline.checkpoints.efficientnet_lite0 import load_efficientnet_lite0
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.degrade.compress import REPEATABLE
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.media.images import Pixels, frame_name, list_frames, read_image, write_png
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.metrics import NaturalnessMeter, PerceptualMeter, Scores, VmafMeter, mean_scores, score_frames
from vsr_pipeline.metrics.fidelity import FloatArray, mse, psnr_of
from vsr_pipeline.runtime.files import write_text

BASICVSR = "basicvsr-reds4-wheel"


@dataclass(frozen=True, slots=True)
class Strength:
    """How a clip is spoiled: sigma of the blur in pixels of the truth, sigma of the noise of 255, H.264's CRF."""

    blur: float
    noise: float
    crf: int | None


BICUBIC = "bicubic-x4"
STRENGTHS = {
    "clean": Strength(0, 0, None),
    "mild": Strength(0, 3, 24),
    "medium": Strength(0.8, 8, 28),
    "heavy": Strength(1.5, 16, 33),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one model scored on one spoiled clip."""

    clip: str
    strength: str
    model: str
    decision: str
    scores: Scores
    psnr_chroma: float
    """Of Cb and Cr together, mean over the frames."""


def main() -> None:
    """Score every model on every clip in every strength and print the table."""
    options = _options()
    specs = {name: opened(name) for name in options.models}
    upscalers = {name: spec.variants[0].build() for name, spec in specs.items()}
    rows = []
    for path in options.truth:
        truth = frames_of_clip(path, options.frames)
        for strength in options.strengths:
            folder = options.cache / f"{path.stem}-{len(truth)}" / f"{strength}-seed{options.seed}"
            spoiled = _Cached(
                folder / "input", {"truth": _digest(truth), "seed": options.seed, **asdict(STRENGTHS[strength])}
            )
            lq = spoiled.frames(lambda truth=truth, strength=strength: spoil(truth, STRENGTHS[strength], options.seed))
            for model, spec in specs.items():
                decision = decide_in_memory(upscalers[model], spec.context, lq, spec.scale)
                about = {"input": _digest(lq), **spec.identity, "decision": str(dict(decision.values))}
                output = _Cached(folder / Path(model).name, about)
                made = partial(enhance_in_memory, upscalers[model], spec.context, lq, decision, spec.scale)
                frames = output.frames(made)
                scores, chroma = output.scores(truth, frames)
                rows.append(Row(path.stem, strength, Path(model).name, decision.description, scores, chroma))
                print(_line(rows[-1], rows), flush=True)
    _print_means(rows)
    if options.json:
        write_text(options.json, json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def spoil(truth: list[Pixels], strength: Strength, seed: int) -> list[Pixels]:
    """Spoil a clip of 8 bits whose sides are multiples of 4; returns frames of a quarter of its size."""
    rng = np.random.default_rng(seed)
    spoiled = []
    for frame in truth:
        picture = frame.astype(np.float64)
        if strength.blur:
            picture = cv2.GaussianBlur(picture, (0, 0), strength.blur, borderType=cv2.BORDER_REFLECT)
        picture = bicubic_quarter(picture)
        picture += strength.noise * rng.standard_normal(picture.shape)
        spoiled.append(picture.round().clip(0, 255).astype(np.uint8))
    return spoiled if strength.crf is None else through_h264(spoiled, strength.crf)


def bicubic_quarter(picture):
    """MATLAB's `imresize(picture, 1/4)`: cubic of a = -0.5, stretched to 16 taps; sample i is centred on 4i + 1.5."""
    x = np.abs(np.arange(16) - 7.5) / 4
    taps = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)
    taps /= taps.sum()
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(picture, 6, 9, 6, 9, cv2.BORDER_REFLECT)
    rows = sum(weight * padded[k : k + height : 4] for k, weight in enumerate(taps))
    return sum(weight * rows[:, k : k + width : 4] for k, weight in enumerate(taps))


def through_h264(frames: list[Pixels], crf: int) -> list[Pixels]:
    """What is left of frames after x264, 4:2:0, preset medium; the same on every run and machine."""
    accurate = (
        Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    )
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.options = {"crf": str(crf), "preset": "medium"} | REPEATABLE
    encoder.thread_count = 1
    decoder = av.CodecContext.create("h264", "r")
    decoded = []
    for index, pixels in enumerate([*frames, None]):
        picture = None
        if pixels is not None:
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p",
                interpolation=accurate,
                dst_colorspace=Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
            )
            picture.pts, picture.time_base = index, Fraction(1, 25)
        for packet in encoder.encode(picture):
            decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    assert len(decoded) == len(frames)
    return [
        frame.reformat(
            format="rgb24",
            interpolation=accurate | Interpolation.FULL_CHR_H_INP,
            src_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.MPEG,
        ).to_ndarray()
        for frame in decoded
    ]


class _Cached:
    """A folder of frames, and what they score, that is made again when what it is made from has changed."""

    def __init__(self, folder: Path, identity: dict[str, object]) -> None:
        self._folder = folder
        self._identity = json.dumps(identity, sort_keys=True, default=str)

    def frames(self, make: Callable[[], list[Pixels]]) -> list[Pixels]:
        """Return the frames, computed if they are not there."""
        if self._recorded("frames.json") is None:
            made = make()
            (self._folder / "frames.json").unlink(missing_ok=True)
            for index, pixels in enumerate(made):
                write_png(self._folder / frame_name(index), pixels)
            self._record("frames.json", len(made))
        return [read_image(path) for path in list_frames(self._folder)]

    def scores(self, truth: list[Pixels], frames: list[Pixels]) -> tuple[Scores, float]:
        """Return what the frames score, and the PSNR of their chroma; measured if it is not known."""
        code = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(metrics.__file__).parent.glob("*.py"))))
        known = self._recorded("scores.json", code.hexdigest())
        if known is not None:
            return Scores(**known["scores"]), known["psnr_chroma"]
        perceptual = PerceptualMeter(load_efficientnet_lite0(), len(truth))
        naturalness = NaturalnessMeter(len(truth))
        pairs = list(zip(truth, frames, strict=True))
        with VmafMeter() as vmaf:
            scores = mean_scores(score_frames(pairs, vmaf, naturalness=naturalness, perceptual=perceptual))
            if vmaf.failure:
                print(f"no VMAF: {vmaf.failure}")
        chroma = float(np.mean([psnr_of(mse(*(_chroma(frame) for frame in pair))) for pair in pairs]))
        self._record("scores.json", {"scores": asdict(scores), "psnr_chroma": chroma}, code.hexdigest())
        return scores, chroma

    def _recorded(self, name: str, code: str = ""):
        try:
            record = json.loads((self._folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return record["value"] if record["of"] == self._identity + code else None

    def _record(self, name: str, value: object, code: str = "") -> None:
        write_text(self._folder / name, json.dumps({"of": self._identity + code, "value": value}))


def frames_of_clip(path: Path, count: int | None, start: int = 0) -> list[Pixels]:
    """Return so many frames of a video or folder, of 8 bits, their sides cut to multiples of 4."""
    stop = None if count is None else start + count
    if path.is_dir():
        frames = [read_image(image) for image in list_frames(path)[start:stop]]
    else:
        with VideoReader(path) as reader:
            frames = [frame.pixels for frame in islice(reader, start, stop)]
    if not frames:
        raise SystemExit(f"no frame {start} in {path}")
    height, width = (side - side % 4 for side in frames[0].shape[:2])
    return [(f // 257).astype(np.uint8)[:height, :width] if f.itemsize > 1 else f[:height, :width] for f in frames]


def opened(model: str) -> ModelSpec:
    """Return a model by its name, with the options behind it."""
    name, *options = re.split(r":(?=cleaning=|detail=|refine=|precision=)", model)
    path = Path(name)
    chosen = {"checkpoint": path} if path.is_file() else {"model": name}
    return open_model(UpscaleConfig(**chosen, **dict(option.split("=") for option in options)))


def _chroma(frame: Pixels) -> FloatArray:
    """Return Cr and Cb of an RGB frame, 0 to 255."""
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)[..., 1:] * 255.0


def _digest(frames: list[Pixels]) -> str:
    return hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()


def _line(row: Row, rows: list[Row]) -> str:
    """A row of the table, with its differences to bicubic and to BasicVSR as far as those are known."""
    s = row.scores
    text = (
        f"{row.clip:<10} {row.strength:<7} {row.model:<28} Y {s.psnr_y:5.2f} RGB {s.psnr_rgb:5.2f} "
        f"C {row.psnr_chroma:5.2f} SSIM {s.ssim_y:.4f} VMAF {_number(s.vmaf)} NEG {_number(s.vmaf_neg)} "
        f"P {_number(s.perceptual, 6, 4)} NIQE {_number(s.niqe, 4, 2)} flicker {_number(s.flicker, 5, 2)} "
        f"{row.decision}"
    )
    for name, base in (("bicubic", BICUBIC), ("BasicVSR", BASICVSR)):
        other = next((r.scores for r in rows if (r.clip, r.strength, r.model) == (row.clip, row.strength, base)), None)
        if other and row.model != base:
            text += f" | {name}: Y {s.psnr_y - other.psnr_y:+.2f}"
            if s.vmaf_neg is not None and other.vmaf_neg is not None:
                text += f" NEG {s.vmaf_neg - other.vmaf_neg:+.1f}"
            if s.flicker is not None and other.flicker is not None:
                text += f" flicker {s.flicker - other.flicker:+.2f}"
    return text


def _number(value: float | None, width: int = 5, digits: int = 1) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _print_means(rows: list[Row]) -> None:
    """Print the table again with the means over the clips."""
    clips = {row.clip for row in rows}
    if len(clips) < 2:
        return
    means: list[Row] = []
    for key in dict.fromkeys((row.strength, row.model) for row in rows):
        of_key = [row for row in rows if (row.strength, row.model) == key]
        counts = ("frame_count", "sampled_frame_count")
        names = [name for name in asdict(of_key[0].scores) if name not in counts]
        values = {name: [getattr(row.scores, name) for row in of_key] for name in names}
        scores = {name: None if None in v else sum(v) / len(v) for name, v in values.items()}
        counted = {name: sum(getattr(row.scores, name) for row in of_key) for name in counts}
        chroma = sum(row.psnr_chroma for row in of_key) / len(of_key)
        decision = max(row.decision for row in of_key)
        means.append(Row("mean", *key, decision, Scores(**scores, **counted), chroma))
    print()
    for row in means:
        print(_line(row, means))


def _options() -> argparse.Namespace:
    vid4 = Path(os.environ.get("VSR_TEST_DATA", "../shared")) / "data" / "clips" / "vid4"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=[BICUBIC, BASICVSR])
    parser.add_argument("--truth", nargs="+", type=Path, default=[vid4 / "calendar", vid4 / "city"])
    parser.add_argument("--strengths", nargs="+", choices=STRENGTHS, default=list(STRENGTHS))
    parser.add_argument("--frames", type=int, help="use the first N frames of each clip")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--cache", type=Path, required=True, help="folder of inputs, outputs and scores")
    parser.add_argument("--json", type=Path, help="write the scores into this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
