"""Reference scores of BRISQUE, from the package `brisque`, whose regression ours takes its numbers from.

In an environment of its own, because the package needs libsvm, scikit-image and SciPy:

    pip install 'brisque[opencv-python-headless]==0.2.0' numpy==2.3.5 'setuptools<81'
    python -m tests.golden.make_brisque tests/golden/brisque.json

Stored: for each picture of `pictures()` the score, by its name.
"""

import json
import sys
from pathlib import Path

import numpy as np


def pictures():
    """Return pictures, each uint8 (H, W, 3), RGB, by their faults: made by NumPy alone, so that they never change."""
    rng = np.random.RandomState(5)
    scene = _scene(rng, 150, 201)
    noise = rng.standard_normal(scene.shape)
    soft = _soft(_soft(scene))
    blocks = scene[:144, :200].reshape(18, 8, 25, 8, 3).mean(axis=(1, 3)).repeat(8, axis=0).repeat(8, axis=1)
    floats = {
        "clean": scene,
        "soft": soft,
        "very soft": _soft(_soft(soft)),
        "sharpened": scene + 2 * (scene - soft),
        "noisy": scene + 12 * noise,
        "very noisy": scene + 50 * noise,
        "blocks": 0.5 * blocks + 0.5 * scene[:144, :200],
        "dark": 0.1 * scene + 2 * noise,
        "small": scene[:32, :41],
        "bars": np.pad(scene[20:-20], [(20, 20), (0, 0), (0, 0)]),
        "burnt out": 2 * scene,
        "noise alone": 128 + 40 * noise,
    }
    return {name: np.clip(np.rint(picture), 0, 255).astype(np.uint8) for name, picture in floats.items()}


def _scene(rng, height, width):
    """Leaves that lie on each other: discs of many sizes, which have the statistics of natural scenes."""
    ys, xs = np.mgrid[0:height, 0:width]
    scene = np.full((height, width, 3), 128.0)
    for _ in range(1500):
        radius = 2 / np.sqrt(rng.uniform(0.002, 1))
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        scene[(ys - y) ** 2 + (xs - x) ** 2 < radius**2] = rng.uniform(20, 235, 3)
    return _soft(scene + 3 * rng.standard_normal(scene.shape))


def _soft(picture):
    for axis in (0, 1):
        picture = (np.roll(picture, 1, axis) + 2 * picture + np.roll(picture, -1, axis)) / 4
    return picture


def main(out_path):
    import brisque  # here, so that the pictures can be had without it

    judge = brisque.BRISQUE(url=False)
    scores = {name: round(float(judge.score(picture)), 6) for name, picture in pictures().items()}
    Path(out_path).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
