"""Runs the generator of EDSR's goldens: `python -m tests.reference.make_edsr OUT.npz` (see `make_goldens`)."""

import sys

import numpy as np
from vsr_pipeline.mmedit_backend import official_networks

from tests.golden.make_edsr import CASES, run

if __name__ == "__main__":
    official_networks()
    np.savez_compressed(sys.argv[1], **{name: run(name) for name in CASES})
