"""The networks against stored outputs of the official implementation, and at the edges of their input."""

import pytest
import torch

from tests.support.networks import CASES, assert_reproduces, fill, golden_net
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.checkpoints.manifest import verified_path
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.blocks import pixel_shuffle_channels_last
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.spynet import SPyNet


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_reproduces_official_outputs(name):
    assert_reproduces(name, golden_net(CASES[name]))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 64), (1, 1, 1), (2, 33, 70), (3, 67, 97), (2, 20, 30)])
@torch.inference_mode()
def test_any_length_and_size(frames, height, width):
    clip = torch.rand(2, frames, 3, height, width, generator=torch.Generator().manual_seed(0))
    output, cleaned = fill(RealBasicVSRNet(8, 1, 1), 0.7)(clip, return_cleaned=True)
    assert output.shape == (2, frames, 3, 4 * height, 4 * width)
    assert cleaned.shape == clip.shape
    assert torch.isfinite(output).all()


@torch.inference_mode()
def test_clips_of_a_batch_do_not_mix():
    net = fill(BasicVSRNet(8, 1), 0.7)
    clips = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together = net(clips)
    alone = torch.cat([net(clips[:1]), net(clips[1:])])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_refinement_stops_at_the_threshold_and_after_three_passes():
    net = fill(RealBasicVSRNet(8, 1, 1), 0.7)
    clip = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert net.clean_until(clip, 255.0)[1] == 1
    cleaned, passes = net.clean_until(clip, 0.0)
    assert passes == 3
    torch.testing.assert_close(cleaned[0], net.clean(clip[0], 3), rtol=0, atol=1e-6)


def test_pixel_shuffle_for_gpus_is_pytorchs_in_the_layout_of_its_input():
    x = torch.rand(2, 12, 5, 7, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    shuffled = pixel_shuffle_channels_last(x)
    assert torch.equal(shuffled, torch.nn.functional.pixel_shuffle(x, 2))
    assert shuffled.is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_flow_at_half_the_size_finds_a_motion():
    """Without its last level SPyNet is off by less than a third of a pixel where the picture moves by (4, -2)."""
    full = net_for(load_checkpoint(verified_path("realbasicvsr-open-x4")))
    half = SPyNet(5)
    half.load_state_dict({k: v for k, v in full.basicvsr.spynet.state_dict().items() if ".5." not in k[:16]})
    noise = torch.rand(1, 3, 20, 25, generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.interpolate(noise, scale_factor=6, mode="bicubic").clamp(0, 1)
    flow = half.eval()(picture[..., 10:106, 10:138], picture[..., 12:108, 6:134])
    error = (flow - torch.tensor([4.0, -2.0]).view(1, 2, 1, 1)).abs()[..., 16:-16, 16:-16]
    assert flow.shape == (1, 2, 96, 128)
    assert error.mean() < 0.33
