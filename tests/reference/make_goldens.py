"""Runs the goldens' generator: `python -m tests.reference.make_goldens OUT.npz`.

The generator imports mmedit as any program would. Where torchvision's compiled library does not fit torch, that fails
unless `official_networks` has been there before, so it is called first.
"""

import sys
import warnings
from pathlib import Path

from tests.golden.make_reference import main
from vsr_pipeline.enhance.realbasicvsr_mmedit import official_networks

CASES = Path(__file__).parent.parent / "golden" / "cases.json"

if __name__ == "__main__":
    official_networks()
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    main(CASES, *sys.argv[1:])
