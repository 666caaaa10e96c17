"""The networks against stored outputs of the official implementation, and at the edges of their input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden.make_reference import fill_parameters, make_clip
from vsr_pipeline.models import BasicVSRNet, RealBasicVSRNet
from vsr_pipeline.models.blocks import pixel_shuffle_channels_last

GOLDEN = Path(__file__).parent / "golden"
CASES = {case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())}


def fill(net, std):
    """Give a network the weights of the goldens."""
    filled = fill_parameters({k: v.numpy() for k, v in net.state_dict().items()}, std)
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in filled.items()}, strict=True)
    return net.eval()


def golden_net(case):
    if case["net"] == "basicvsr":
        return fill(BasicVSRNet(**case["kwargs"]), case["std"])
    # Cleaning frame by frame or all at once is a matter of memory in the official code, not of results.
    kwargs = {k: v for k, v in case["kwargs"].items() if k != "is_sequential_cleaning"}
    return fill(RealBasicVSRNet(**kwargs), case["std"])


def assert_close(actual, expected, what):
    worst = np.abs(actual - expected).max()
    assert actual.shape == expected.shape
    assert worst <= 1e-4, f"{what}: off by {worst:.2e}, mean {np.abs(actual - expected).mean():.2e}"


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_reproduces_official_outputs(name):
    assert_reproduces(name, golden_net(CASES[name]))


def assert_reproduces(name, net):
    """Hold the outputs of a network against those of the official one."""
    case = CASES[name]
    clip = torch.from_numpy(make_clip(case["frames"], case["height"], case["width"], case["seed"]))
    length = case["max_seq_len"] or len(clip)
    outputs, cleaned = [], []
    for start in range(0, len(clip), length):
        window = clip[None, start : start + length]
        if case["net"] == "basicvsr":
            outputs.append(net(window)[0])
        else:
            output, clean = net(window, refine_threshold=case["refine_threshold"], return_cleaned=True)
            outputs.append(output[0])
            cleaned.append(clean[0])
    stride = case["stride"]
    with np.load(GOLDEN / "mmedit_0.16.1.npz") as golden:
        assert_close(torch.cat(outputs)[:, :, ::stride, ::stride].numpy(), golden[f"{name}/output"], "output")
        if cleaned:
            assert_close(torch.cat(cleaned).numpy(), golden[f"{name}/cleaned"], "cleaned")


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
