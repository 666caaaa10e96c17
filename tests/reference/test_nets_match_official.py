"""Our networks give what the official ones give, with the same weights, on sizes that the goldens do not cover."""

import pytest
import torch

from tests.reference.random_nets import clip_N, save_official_checkpoint, small_basicvsr, small_realbasicvsr
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.enhance.realbasicvsr_mmedit import OfficialNet

pytestmark = pytest.mark.usefixtures("official")

CPU = torch.device("cpu")
SHAPES = [(1, 64, 64), (2, 65, 67), (3, 97, 64), (4, 70, 95), (2, 33, 40), (3, 90, 17), (1, 5, 7)]


def official_twin(net, folder, *, refine_threshold):
    """The official network, with the weights of ours by way of a file."""
    checkpoint = load_checkpoint(save_official_checkpoint(net, folder / "checkpoint.pth"))
    return OfficialNet(checkpoint, refine_threshold=refine_threshold, device=CPU)


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    worst = (ours - theirs).abs().max().item()
    assert worst <= 1e-4, f"off by {worst:.2e}"


@pytest.mark.parametrize("refine_threshold", [255.0, 5.0, 0.001])
@pytest.mark.parametrize(("frames", "height", "width"), SHAPES)
@torch.inference_mode()
def test_realbasicvsr(tmp_path, frames, height, width, refine_threshold):
    net = small_realbasicvsr()
    clip = clip_N(frames, height, width)
    official = official_twin(net, tmp_path, refine_threshold=refine_threshold)
    assert_close(net(clip, refine_threshold=refine_threshold), official(clip))


@pytest.mark.parametrize(("frames", "height", "width"), SHAPES)
@torch.inference_mode()
def test_basicvsr(tmp_path, frames, height, width):
    net = small_basicvsr()
    clip = clip_N(frames, height, width)
    assert_close(net(clip), official_twin(net, tmp_path, refine_threshold=5.0)(clip))


@torch.inference_mode()
def test_mirrored_sequence_for_which_the_official_code_computes_half_the_flows(tmp_path):
    net = small_basicvsr()
    clip = clip_N(3, 64, 80)
    mirrored = torch.cat((clip, clip.flip(1)), dim=1)
    assert_close(net(mirrored), official_twin(net, tmp_path, refine_threshold=5.0)(mirrored))


@torch.inference_mode()
def test_two_clips_at_once(tmp_path):
    net = small_realbasicvsr()
    clips = torch.cat((clip_N(2, 64, 66, seed=1), clip_N(2, 64, 66, seed=2)))
    assert_close(net(clips, refine_threshold=5.0), official_twin(net, tmp_path, refine_threshold=5.0)(clips))


@torch.inference_mode()
def test_input_is_left_as_it_was(tmp_path):
    clip = clip_N(2, 64, 64)
    before = clip.clone()
    official_twin(small_realbasicvsr(), tmp_path, refine_threshold=0.001)(clip)
    assert torch.equal(clip, before)


def test_parameter_names_are_the_official_ones(official):
    theirs = official.realbasicvsr(mid_channels=8, num_propagation_blocks=2, num_cleaning_blocks=1).state_dict()
    ours = small_realbasicvsr().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
