"""Reference outputs of OpenCV's super-resolution module, `cv2.dnn_superres`, which only opencv-contrib has.

In an environment of its own, because there can be only one OpenCV in one:

    pip install numpy opencv-contrib-python-headless==5.0.0.93
    python -m tests.golden.make_superres FOLDER_OF_PB_FILES tests/golden/superres.npz

Stored: `version` of OpenCV, and for each network uint8 (scale * H, scale * W, 3), BGR, of `picture()`. EDSR's files are
too large, so a small graph of the same form stands for them.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from tests.golden.make_reference import make_clip
from tests.support.graph_files import small_edsr

FILES = {
    f"{name}_x{scale}": (algorithm, scale)
    for name, algorithm, scales in (
        ("FSRCNN", "fsrcnn", (2, 3, 4)),
        ("FSRCNN-small", "fsrcnn", (2, 3, 4)),
        ("ESPCN", "espcn", (2, 3, 4)),
        ("LapSRN", "lapsrn", (2, 4, 8)),
    )
    for scale in scales
}
EDSR_SCALES = (2, 3, 4)


def picture():
    """Return the input: waves of strong colours, with single black and white pixels; uint8 (17, 22, 3), BGR."""
    pixels = (make_clip(1, 17, 22, 31)[0].transpose(1, 2, 0) * 255).round()
    pixels = np.clip((pixels - 128) * 2 + 128, 0, 255).astype(np.uint8)
    pixels[3::7, 2::9] = 255
    pixels[5::8, 4::11] = 0
    return pixels


def upsampled(path, algorithm, scale):
    """Return what the module makes of the picture."""
    module = cv2.dnn_superres.DnnSuperResImpl_create()
    module.readModel(str(path))
    module.setModel(algorithm, scale)
    return module.upsample(picture())


def main(folder, out_path):
    arrays = {name: upsampled(Path(folder, f"{name}.pb"), *model) for name, model in FILES.items()}
    with tempfile.TemporaryDirectory() as temporary:
        for scale in EDSR_SCALES:
            path = Path(temporary, "edsr.pb")
            path.write_bytes(small_edsr(scale))
            arrays[f"edsr_x{scale}"] = upsampled(path, "edsr", scale)
    np.savez_compressed(out_path, version=cv2.__version__, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
