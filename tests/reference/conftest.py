"""The official implementation is only in the environment that `make reference` builds; tests need it by fixture."""

import importlib.util

import pytest

from vsr_pipeline.enhance.realbasicvsr_mmedit import official_networks

HAS_MMEDIT = importlib.util.find_spec("mmedit") is not None


@pytest.fixture(scope="session")
def official():
    """The official network classes; the test is skipped where they are not installed."""
    if not HAS_MMEDIT:
        pytest.skip("needs mmedit 0.16.1, in an environment of its own: run `make reference`")
    return official_networks()


@pytest.fixture(scope="session")
def no_official():
    """The test is skipped where the official implementation is installed."""
    if HAS_MMEDIT:
        pytest.skip("mmedit is installed here")
