"""What a user is told who asks for the official implementation where it is not installed."""

import pytest
import torch

from tests.reference.random_nets import save_official_checkpoint, small_realbasicvsr
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.enhance.realbasicvsr_mmedit import OfficialNet
from vsr_pipeline.errors import UsageError


@pytest.mark.usefixtures("no_official")
def test_one_line_says_what_to_do(tmp_path):
    checkpoint = load_checkpoint(save_official_checkpoint(small_realbasicvsr(), tmp_path / "checkpoint.pth"))
    with pytest.raises(UsageError, match=r"not installed.*`make reference`.*\.venv-reference/bin/vsr enhance") as info:
        OfficialNet(checkpoint, refine_threshold=5.0, device=torch.device("cpu"))
    assert "\n" not in str(info.value)
