"""Packages that some tests need, and that not every machine has."""

import importlib.metadata
import os

import pytest
import torch


def needed(package):
    """Skip the test where a package is not installed; `VSR_REQUIRE_PACKAGES=1` makes that a failure."""
    try:
        return importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("VSR_REQUIRE_PACKAGES") == "1":
            pytest.fail(f"VSR_REQUIRE_PACKAGES=1, and {package} is not installed")
        pytest.skip(f"{package} is not installed")


def spandrel():
    """Return spandrel, imported although no build of torchvision fits a CPU build of PyTorch."""
    needed("spandrel")
    if not _OPERATORS:
        _OPERATORS.append(define_operators())
    import spandrel

    return spandrel


def define_operators():
    """Declare what torchvision's Python files ask for, where its compiled library did not load."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_OPERATORS = []  # what is declared lives as long as its library
