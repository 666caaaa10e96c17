"""`vsr bench`: what it prints is measured, and both paths compute the same."""

import json

import pytest
import torch

from tests.support.networks import fill
from tests.support.small_device import LiveBytes, SmallDevice
from tests.support.upscaling import upscale_whole
from vsr_pipeline import cli
from vsr_pipeline.bench import bench as measure
from vsr_pipeline.bench_network import moving_picture
from vsr_pipeline.checkpoints.manifest import is_here, load_manifest
from vsr_pipeline.checkpoints.state_dicts import read_tensors
from vsr_pipeline.config import EncodeConfig, UpscaleConfig
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.runtime.progress import Reporter


def save(net, path):
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(fill(RealBasicVSRNet(8, 2, 2), 0.7), tmp_path_factory.mktemp("bench") / "tiny.pth")


def bench(capsys, *options):
    small = ["--size", "64x70", "--frames", "3", "--repeats", "2", "--device", "cpu", "--no-costs"]
    code = cli.run(["bench", *small, *options])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_the_product_computes_what_the_reference_does(checkpoint, capsys):
    code, out, _ = bench(capsys, "--checkpoint", str(checkpoint), "--precision", "fp32", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["max_difference"] < 1e-4
    assert result["psnr_db"] > 80
    assert result["ratio"] == pytest.approx(result["fps"] / result["reference_fps"])
    assert result["flops_per_second"] > 0
    assert result["peak_flops_per_second"] > 0
    assert result["peak_memory_bytes"] > 50 * 1024**2
    parts = ["decode", "cleaning", "flow", "backward", "forward", "upsample", "transfer", "encode"]
    assert list(result["breakdown"]) == parts
    assert all(milliseconds > 0 for milliseconds in result["breakdown"].values())


def test_gpu_memory_is_that_of_the_product_alone(checkpoint, monkeypatch):
    """What the CPU holds stands for the GPU's memory."""
    settings = UpscaleConfig(checkpoint=checkpoint, precision="fp32", device="cpu", max_seq_len=4, lookahead=1)
    clip = moving_picture(64, 64, 5)
    alone = SmallDevice(open_model(settings).variants[0].build(), None)
    upscale_whole(alone, clip)
    with LiveBytes() as live:
        monkeypatch.setattr(ModelSpec, "peak_gpu_memory_bytes", lambda _: live.peak)
        monkeypatch.setattr(ModelSpec, "reset_peak_gpu_memory", lambda _: live.reset_peak())
        result = measure(settings, EncodeConfig(), size=(64, 64), frames=5, repeats=1, reporter=Reporter())
    weights = sum(tensor.untyped_storage().nbytes() for tensor in read_tensors(checkpoint).values())
    assert alone.peak <= result.peak_gpu_memory_bytes <= alone.peak + 3 * weights
    assert result.peak_gpu_memory_bytes < live.peak  # the reference holds whole windows, and a copy of the weights


def test_a_model_that_measures_damage_is_compared_as_the_network_alone(capsys):
    code, out, _ = bench(capsys, "--model", "realbasicvsr-open-fast-x4", "--precision", "fp32", "--json")
    assert code == 0
    assert json.loads(out)["psnr_db"] > 80


@pytest.mark.nightly  # bf16 is slow where it is emulated
def test_other_arithmetic_shows_as_another_picture(checkpoint, capsys):
    exact = json.loads(bench(capsys, "--checkpoint", str(checkpoint), "--precision", "fp32", "--json")[1])
    rounded = json.loads(bench(capsys, "--checkpoint", str(checkpoint), "--precision", "bf16", "--json")[1])
    assert 40 < rounded["psnr_db"] < exact["psnr_db"]


def test_text_for_people(tmp_path, capsys):
    net = save(fill(BasicVSRNet(8, 1), 0.7), tmp_path / "tiny.pth")
    code, out, err = bench(capsys, "--checkpoint", str(net), "--frames", "1")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        *("model", "clip", "product", "reference", "ratio", "accuracy", "arithmetic", "memory", "ms"),
    ]
    assert "cleaning" not in out
    assert err.startswith("loading the model")
    assert "run 2 of 2" in err


@pytest.mark.parametrize(
    "wrong", [["--model", "bicubic-x4"], ["--windows", "official"], ["--size", "64"], ["--size", "0x64"]]
)
def test_what_cannot_be_timed(checkpoint, capsys, wrong):
    named = [] if "--model" in wrong else ["--checkpoint", str(checkpoint)]
    code, out, err = bench(capsys, *named, *wrong)
    assert (code, out) == (2, "")
    assert len([line for line in err.splitlines() if not line.startswith("loading")]) == 1


def test_the_picture_moves_and_has_detail():
    frames = moving_picture(40, 30, 3)
    assert [frame.shape for frame in frames] == [(30, 40, 3)] * 3
    assert (frames[0][2:, 1:] == frames[1][:-2, :-1]).all()
    assert frames[0].std() > 20


def test_models_are_timed_beside_bicubic(capsys):
    code, out, _ = bench(capsys, "--models", "bicubic,fsrcnn-small-x2@32x24,espcn-x3", "--json")
    models = json.loads(out)["models"]
    assert code == 0
    assert [one["model"] for one in models] == ["bicubic", "fsrcnn-small-x2", "espcn-x3"]
    assert [one["output_size"] for one in models] == [[256, 280], [64, 48], [192, 210]]
    assert all(one["seconds_per_frame"] > 0 and one["bicubic_seconds"] > 0 for one in models)
    code, out, _ = bench(capsys, "--models", "nearest")
    header, row, _, title, sizes, costs = out.splitlines()
    assert title.startswith("One minute of video, 25 frames a second, takes about")
    assert sizes.split() == ["model", "360p", "480p", "720p", "1080p"]
    assert costs.split()[0] == "nearest"
    assert header.split()[:3] == ["model", "input", "->"]
    assert row.startswith("nearest  64x70 -> 256x280")


@pytest.mark.nightly
def test_the_end_says_what_a_minute_takes_with_each_model_that_is_here(checkpoint, capsys):
    tiny = ["--checkpoint", str(checkpoint), "--precision", "fp32", "--size", "24x16", "--frames", "1"]
    # Only RealBasicVSR can clean less: the other models run as they do without that.
    assert cli.run(["bench", *tiny, "--cleaning", "0.5", "--repeats", "1", "--device", "cpu"]) == 0
    streams = capsys.readouterr()
    table = streams.out.partition("One minute of video")[2].splitlines()
    names = [row.split()[0] for row in table[2:]]
    here = [entry.name for entry in load_manifest() if entry.kind in ("recurrent", "frame") and is_here(entry)]
    assert names == [*here, "bicubic-x4"]
    assert f"model {len(names)} of {len(names)}" in streams.err


@pytest.mark.parametrize("models", ["espcn-x3@32", "espcn-x3@x24", "espcn-x9"])
def test_models_that_there_are_not_are_refused(capsys, models):
    code, out, err = bench(capsys, "--models", models)
    assert code in (2, 4)
    assert out == ""
    assert len([line for line in err.splitlines() if not line.startswith("loading")]) == 1
