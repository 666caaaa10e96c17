"""Every bad input that people have, and the commands that must refuse it in one line."""

import av
import numpy as np

from tests.support.clips import images
from vsr_pipeline.media.images import write_png

FAILING_COMMANDS = [
    ("split missing.mp4", 3, "missing.mp4"),
    ("split text.mp4", 3, "text.mp4"),
    ("split zero.mp4", 3, "zero.mp4"),
    ("split audio.mp4", 3, "audio.mp4"),
    ("split empty", 3, "empty"),
    ("split", 3, "data"),
    ("enhance missing", 3, "missing"),
    ("enhance empty --model bicubic-x4", 3, "no images in empty"),
    ("enhance texts --model bicubic-x4", 3, "no images in texts"),
    ("enhance two_sizes --model bicubic-x4", 3, "00000002.png is 20x20"),
    ("enhance text.mp4 --model bicubic-x4", 3, "text.mp4"),
    ("enhance", 3, "run `vsr split` first"),
    ("enhance good --max-seq-len 0", 2, "--max-seq-len"),
    ("enhance good --max-seq-len x", 2, "--max-seq-len"),
    ("enhance good --windows soft", 2, "--windows"),
    ("enhance good --model realbasicvsr", 4, "realbasicvsr"),
    ("enhance good --model realbasicvsr-x4", 4, "vsr models pull realbasicvsr-x4"),
    ("enhance good --checkpoint text.mp4", 4, "text.mp4"),
    ("enhance good --checkpoint missing.pth", 4, "missing.pth"),
    ("enhance good --config missing.toml", 3, "missing.toml"),
    ("enhance good --device cuda:99", 5, "cuda:99"),
    ("enhance good --device gpu", 2, "gpu"),
    ("enhance good --precision fp16 --device cpu", 2, "fp16"),
    ("enhance good --model bicubic-x4 --output file", 6, "file"),
    ("enhance good --model bicubic-x4 --output texts", 6, "texts is not empty"),
    ("enhance good --model bicubic-x4 --output file/below", 6, "cannot write file"),
    ("enhance good --model bicubic-x4 --results file", 6, "file"),
    ("enhance good --model bicubic-x4 --results /proc/results", 6, "cannot write /proc/results"),
    ("merge no_clip/enhanced", 2, "--fps"),
    ("merge no_clip/enhanced --fps 0", 2, "--fps"),
    ("merge no_clip/enhanced --fps 25 --output file/below.mp4", 6, "cannot write file"),
    ("merge two_sizes --fps 25", 3, "00000002.png"),
    ("demo good missing --output demo.mp4", 3, "missing"),
    ("demo good good --output file", 6, "file exists"),
    ("metrics good missing", 3, "missing"),
    ("models pull nothing", 4, "nothing"),
    ("frobnicate", 2, "frobnicate"),
    ("enhance good --lookahed 3", 2, "--lookahed"),
]


def make_bad_inputs(workspace):
    """Every bad input that people have, by the name that the table uses."""
    (workspace / "text.mp4").write_text("this is no video\n" * 100)
    (workspace / "zero.mp4").touch()
    (workspace / "empty").mkdir()
    (workspace / "texts").mkdir()
    (workspace / "texts" / "readme.txt").write_text("x")
    images(workspace / "two_sizes", 2)
    write_png(workspace / "two_sizes" / "00000002.png", np.zeros((20, 20, 3), np.uint8))
    images(workspace / "good", 3)
    images(workspace / "no_clip" / "enhanced", 3)
    (workspace / "file").write_text("in the way")
    audio_only(workspace / "audio.mp4")
    return workspace


def audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
