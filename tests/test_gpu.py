"""On a real CUDA GPU, if there is one: the same pictures as on a CPU, with graphs and without, and memory that ends."""

import os

import pytest
import torch

from tests.support.networks import CASES, assert_reproduces, fill, golden_net, save
from tests.support.small_device import psnr
from tests.support.upscaling import built, frames_of, run, segment, upscale_whole, worst
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_network import prepare
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet


@pytest.fixture(autouse=True)
def gpu():
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if os.environ.get("VSR_REQUIRE_GPU") == "1":
        pytest.fail("VSR_REQUIRE_GPU=1, and PyTorch sees no CUDA GPU")
    pytest.skip("no CUDA GPU")


@pytest.fixture
def checkpoint(tmp_path):
    return save(fill(RealBasicVSRNet(64, 5, 5), 0.3), tmp_path / "net.pth")


def upscaled(frames, **settings):
    return run(built(open_model(UpscaleConfig(max_seq_len=4, lookahead=3, **settings))), frames)[0]


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_official_outputs_in_fp32(gpu, name):
    net = golden_net(CASES[name])
    prepare(net, device=gpu, precision="fp32")
    assert_reproduces(name, lambda window, **options: _on_cpu(net(window.to(gpu), **options)))


def _on_cpu(outputs):
    return outputs.cpu() if isinstance(outputs, torch.Tensor) else tuple(x.cpu() for x in outputs)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_graphs_change_nothing(checkpoint, precision):
    for size in ((90, 160), (64, 64)):
        frames = frames_of(9, *size)
        settings = {"checkpoint": checkpoint, "device": "cuda", "precision": precision}
        assert worst(upscaled(frames, **settings), upscaled(frames, cuda_graphs=False, **settings)) == 0


@pytest.mark.parametrize(("precision", "decibels"), [("fp32", 60), ("fp16", 45), ("bf16", 35)])
def test_near_what_a_cpu_computes(checkpoint, precision, decibels):
    frames = frames_of(9, 90, 160)
    expected = upscaled(frames, checkpoint=checkpoint, device="cpu", precision="fp32")
    assert psnr(upscaled(frames, checkpoint=checkpoint, device="cuda", precision=precision), expected) > decibels


def test_memory_that_really_runs_out(gpu, tmp_path):
    """Half of what the first attempt takes is not enough for it; all that is asked for is that less is tried."""
    torch.manual_seed(0)
    checkpoint = save(fill(BasicVSRNet(64, 2), 0.3), tmp_path / "wide.pth")
    settings = UpscaleConfig(checkpoint=checkpoint, max_seq_len=20, precision="fp32", device="cuda")
    frames = frames_of(22, 384, 512)
    torch.cuda.reset_peak_memory_stats(gpu)
    whole = upscale_whole(open_model(settings).variants[0].build(), frames)
    taken, total = torch.cuda.max_memory_allocated(gpu), torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.5 * taken / total, gpu)
    try:
        fallback = Fallback(open_model(settings))
        outputs, notes = fallback.run(segment(), lambda upscaler: upscale_whole(upscaler, frames))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    assert notes
    assert psnr(outputs, whole) > 40
