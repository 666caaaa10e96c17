"""`--detail`: weights between those of `realbasicvsr-open-x4` and `realbasicvsr-open-detail-x4`."""

import numpy as np
import pytest
import torch

from tests.support.upscaling import built, frames_of, run
from vsr_pipeline.checkpoints.load import load_checkpoint, mixed_checkpoint
from vsr_pipeline.checkpoints.manifest import verified_path
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.open_model import checkpoint_of, open_model
from vsr_pipeline.errors import ModelError
from vsr_pipeline.jobs.fingerprint import differences, fingerprint_of
from vsr_pipeline.runtime.files import FileIdentity

DETAIL, PLAIN = "realbasicvsr-open-detail-x4", "realbasicvsr-open-x4"


def settings(model: str = DETAIL, detail: float = 1.0) -> UpscaleConfig:
    return UpscaleConfig(
        model=model, detail=detail, precision="fp32", convolutions="direct", device="cpu", cleaning=1.0
    )


def test_the_ends_of_the_dial_are_the_two_models():
    frames = frames_of(2, 32, 40)
    made = {
        share: np.stack(run(built(open_model(settings(detail=share))), frames)[0]).astype(int) for share in (0, 0.5, 1)
    }
    plain, detail = (np.stack(run(built(open_model(settings(model))), frames)[0]) for model in (PLAIN, DETAIL))
    assert np.array_equal(made[0], plain)
    assert np.array_equal(made[1], detail)
    whole_way = np.abs(made[0] - made[1]).mean()
    assert all(0 < np.abs(made[0.5] - made[end]).mean() < whole_way for end in (0, 1))


def test_all_weights_are_mixed():
    one, other = (load_checkpoint(verified_path(name)) for name in (DETAIL, PLAIN))
    mixed = checkpoint_of(settings(detail=0.25))[1]
    for name, tensor in mixed.state_dict.items():
        torch.testing.assert_close(tensor, 0.25 * one.state_dict[name] + 0.75 * other.state_dict[name])
    assert one.sha256 in mixed.sha256
    assert other.sha256 in mixed.sha256
    assert mixed.ranges is None


def test_what_was_begun_with_one_share_is_not_continued_with_another():
    source = FileIdentity(1, 2, "3")

    def of(share: float) -> dict[str, str]:
        own = settings(detail=share)
        return fingerprint_of(source, Config(upscale=own), open_model(own).identity)

    assert differences(of(0.5), of(0.5)) == ()
    assert any("detail" in line for line in differences(of(0.5), of(0.4)))


def test_networks_of_two_sizes_are_not_mixed():
    small = load_checkpoint(verified_path("realbasicvsr-open-fast-x4"))
    with pytest.raises(ModelError, match="must be of one size"):
        mixed_checkpoint(load_checkpoint(verified_path(DETAIL)), small, 0.5)
