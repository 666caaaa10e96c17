"""What all tests share: where the real test data lies."""

import os
import secrets
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).parent.parent

# Ray reads these once, when it is imported. They let nobody else run programs on the tests' clusters.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
}

# How long an example takes says something about the machine only.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """A cache of the tests' own, in which the speeds of small networks are known.

    Measured, they would differ from test to test on a machine that is busy, and the pixels with them.
    """
    from tests.support.speeds import WINOGRAD, know_speeds

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for channels in (8, 16, 64):
            for threads in (1, 2):
                know_speeds({"fp32": 1.0, WINOGRAD: 2.0}, channels=channels, threads=threads)
        yield


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache for one test alone; returns the folder of what was measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vsr-pipeline" / "measured"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test data; the test is skipped where it is missing."""
    folder = (REPOSITORY / os.environ.get("VSR_TEST_DATA", "../shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data in {folder}: set VSR_TEST_DATA to the folder that has data/ and golden/")
    return folder


@pytest.fixture(scope="session")
def faults(shared_data):
    folder = shared_data / "data" / "faults"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bad_inputs(workspace):
    from tests.support.bad_inputs import make_bad_inputs

    return make_bad_inputs(workspace)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from tests.support.browser import opened_browser

    with opened_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
