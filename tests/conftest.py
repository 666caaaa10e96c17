"""What all tests share: where the real test data lies."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test data; the test is skipped where it is missing."""
    folder = (REPOSITORY / os.environ.get("VSR_TEST_DATA", "../shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data in {folder}: set VSR_TEST_DATA to the folder that has data/ and golden/")
    return folder
