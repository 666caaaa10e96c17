"""The stored goldens are what the official implementation computes."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden import make_edsr
from tests.golden.make_reference import run

pytestmark = [
    pytest.mark.usefixtures("official"),
    # mmedit calls it in a way that torch warns about, to the same result.
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
]

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = {case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())}


@pytest.mark.parametrize("name", CASES)
def test_generator_gives_the_stored_outputs(name):
    arrays = run(CASES[name])
    with np.load(GOLDEN / "mmedit_0.16.1.npz") as golden:
        stored = {key: golden[key] for key in golden.files if key.startswith(f"{name}/")}
    assert arrays.keys() == stored.keys()
    for key, expected in stored.items():
        worst = np.abs(arrays[key] - expected).max()
        assert worst <= 1e-5, f"{key}: off by {worst:.2e}"


@pytest.mark.parametrize("name", make_edsr.CASES)
def test_edsrs_generator_gives_the_stored_outputs(name):
    with np.load(GOLDEN / "edsr_mmedit_0.16.1.npz") as golden:
        worst = np.abs(make_edsr.run(name) - golden[name]).max()
    assert worst <= 1e-5, f"off by {worst:.2e}"
