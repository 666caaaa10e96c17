"""`--precision int8`: integers that are exact, ranges that are measured once, and clips that come out as in fp32."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.support.clips import decoded, ffmpeg, ledger, make_video, same_pictures
from tests.support.killing import check_killed_twice_and_by_ray
from tests.support.networks import fill
from tests.support.speeds import know_speeds
from vsr_pipeline import api, cli
from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.checkpoints.ranges import ranges_beside, ranges_in_cache, save_ranges
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.precision import int8_candidate, psnr_db
from vsr_pipeline.enhance.realbasicvsr_network import net_for, prepare
from vsr_pipeline.errors import PrecisionError, StoppedForNow
from vsr_pipeline.models.blocks import conv3x3
from vsr_pipeline.models.int8 import Int8Conv, Outside, Range, int8_instructions, quantised_convolutions
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.train.calibrate import calibrated

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(int8_instructions() is None, reason="this CPU multiplies no 8-bit integers")
SMALL = {"segment_frames": 4, "max_seq_len": 2, "lookahead": 1}
OPTIONS = ["--segment-frames", "4", "--max-seq-len", "2", "--lookahead", "1", "--device", "cpu"]


def written(path, net):
    torch.save({"state_dict": net.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """A small checkpoint with its ranges."""
    path = written(tmp_path_factory.mktemp("int8") / "tiny.pth", fill(RealBasicVSRNet(8, 2, 1), 0.3))
    checkpoint = load_checkpoint(path)
    frames = (255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    save_ranges(ranges_beside(path), calibrated(checkpoint, [frames], Reporter()), checkpoint.sha256)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, quantised):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "in.mp4", frames=8, cut=8, audio=False)
    return tmp_path


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("low", [0.0, -3.0])
def test_integers_saturate_and_never_wrap(low):
    """Largest features meet largest weights: what is added up is beyond 16 bits."""
    torch.manual_seed(0)
    conv = conv3x3(64, 64).requires_grad_(False)
    conv.weight.fill_(0.5).mul_(torch.where(torch.rand_like(conv.weight) < 0.1, -1, 1))
    outside = Outside()
    made = Int8Conv(conv, Range(low, 4.0, torch.zeros(64)), outside)
    x = channels_last(torch.where(torch.rand(1, 64, 16, 24) < 0.7, 9.0, low - 5))
    q = made.rounded(x)
    assert set(q.unique().tolist()) == {0, 255}
    assert outside.take_share() == pytest.approx(1.0 if low else 0.7, abs=0.02)
    expected = conv(x.clamp(low, 4.0))
    assert (made.floats(q) - expected).abs().max() < 0.01 * expected.abs().max()
    inside = channels_last(torch.rand(1, 64, 16, 24) * (3.8 - low) + low + 0.1)
    added = made.added(made.rounded(inside), to=inside.clone())
    assert psnr_db((added - inside - conv(inside)) / expected.abs().max() + 0.5, torch.full_like(inside, 0.5)) > 50
    assert outside.take_share() == 0


def test_a_network_is_close_to_itself_in_fp32_and_repeats_itself():
    checkpoint = load_checkpoint(manifest.verified_path("realbasicvsr-open-fast-x4"))
    names = [name for name, _ in quantised_convolutions(net_for(checkpoint))]
    assert len(names) == len(set(names)) == 2 * (2 * 7 + 5) + 3 + 3  # blocks, reconstruction, one large level of flow
    torch.manual_seed(0)
    clip = F.interpolate(torch.rand(3, 3, 12, 16), scale_factor=6, mode="bicubic").clamp(0, 1)
    ranges = calibrated(checkpoint, [(255 * clip).to(torch.uint8)], Reporter())
    assert set(ranges) == set(names)
    outputs = []
    for precision in ("fp32", "int8", "int8"):
        other = net_for(checkpoint)
        prepare(other, device=CPU, precision=precision, ranges=ranges)
        with torch.inference_mode():
            outputs.append(other(clip[None]))
    assert 50 < psnr_db(outputs[1], outputs[0]) < 90  # and not the same computation
    assert torch.equal(outputs[1], outputs[2])


def run(folder, quantised, output="out.mp4", *options):
    arguments = ["run", "in.mp4", "-o", output, "--checkpoint", str(quantised), "--precision", "int8"]
    return cli.run([*arguments, *OPTIONS, "--encoder-preset", "ultrafast", *options])


def test_a_clip_in_int8_is_that_in_fp32_and_is_continued_to_the_bit(folder, quantised, capsys):
    assert run(folder, quantised) == 0
    assert "in int8 on cpu" in capsys.readouterr().err
    with ledger(folder / "out.mp4") as kept:
        assert kept.fingerprint()["upscale.int8"].startswith(f"{int8_instructions()}, ranges ")
    assert run(folder, quantised, "fp32.mp4", "--precision", "fp32") == 0
    assert not same_pictures(folder / "out.mp4", folder / "fp32.mp4")
    frames = [[pixels.astype(float) for _, pixels in decoded(folder / name)] for name in ("out.mp4", "fp32.mp4")]
    assert np.abs(np.subtract(*frames)).mean() < 1  # of 255

    left = [False, True]
    config = Config().override(checkpoint=quantised, precision="int8", device="cpu", preset="ultrafast", **SMALL)
    options = api.RunOptions(should_stop=lambda: left.pop(0))
    with pytest.raises(StoppedForNow):
        api.run(folder / "in.mp4", folder / "stopped.mp4", config, options=options, reporter=Reporter())
    assert run(folder, quantised, "stopped.mp4") == 0
    assert same_pictures(folder / "out.mp4", folder / "stopped.mp4")


def test_features_that_leave_their_ranges_are_made_again_in_fp32(folder, quantised, capsys):
    shutil.copyfile(quantised, "narrow.pth")
    checkpoint = load_checkpoint(quantised)
    narrow = {
        name: Range(seen.low / 10, seen.high / 10, seen.channel_means)
        for name, seen in checkpoint.calibration.ranges.items()
    }
    save_ranges(ranges_beside(folder / "narrow.pth"), narrow, checkpoint.sha256)
    assert run(folder, folder / "narrow.pth") == 0
    said = capsys.readouterr()
    assert "% of the features left the ranges of int8, made again in fp32" in said.err
    assert run(folder, quantised, "fp32.mp4", "--precision", "fp32", "--convolutions", "direct") == 0
    assert same_pictures(folder / "out.mp4", folder / "fp32.mp4")


def test_without_its_ranges_int8_is_refused_before_anything(folder, quantised, capsys):
    written(folder / "other.pth", fill(RealBasicVSRNet(8, 1, 1), 0.1))
    assert run(folder, folder / "other.pth") == 2
    assert "run vsr models quantize" in capsys.readouterr().err
    calibration = load_checkpoint(quantised).calibration
    save_ranges(ranges_beside(folder / "other.pth"), calibration.ranges, "of other weights")
    assert run(folder, folder / "other.pth") == 4
    assert "has the ranges of other weights" in capsys.readouterr().err
    ranges_beside(folder / "other.pth").write_bytes(b"no ranges")
    assert run(folder, folder / "other.pth") == 4
    assert "no ranges that can be read" in capsys.readouterr().err
    assert run(folder, folder / "other.pth", "fp32.mp4", "--precision", "fp32") == 0  # which needs none
    assert cli.run(["models", "quantize", "fsrcnn-x2"]) == 2
    assert "int8 is for RealBasicVSR and BasicVSR" in capsys.readouterr().err
    with pytest.raises(PrecisionError, match="not for --windows official"):
        open_model(UpscaleConfig(checkpoint=quantised, device="cpu", precision="int8", windows="official"))
    assert not (folder / "out.mp4").exists()


def test_fast_takes_what_auto_finds_too_coarse(own_cache, tmp_path):
    know_speeds({"fp32": 1.0, int8_candidate(CPU).name: 5.0}, channels=32)
    weights = manifest.verified_path("realbasicvsr-open-fast-x4")
    calibration = load_checkpoint(weights).calibration
    for factor, wanted in ((1, ["int8", "int8"]), (12, ["fp32", "int8"]), (60, ["fp32", "fp32"])):
        path = tmp_path / f"{factor}.safetensors"
        shutil.copyfile(weights, path)
        wide = {
            name: Range(seen.low * factor, seen.high * factor, seen.channel_means)
            for name, seen in calibration.ranges.items()
        }
        save_ranges(ranges_beside(path), wide, load_checkpoint(weights).sha256)
        settings = UpscaleConfig(checkpoint=path, device="cpu", convolutions="direct")
        taken = [open_model(settings.model_copy(update={"precision": precision})) for precision in ("auto", "fast")]
        assert [spec.identity["precision"] for spec in taken] == wanted


@pytest.mark.nightly
def test_ranges_are_measured_on_the_pictures_that_come_along(tmp_path):
    path = written(tmp_path / "tiny.pth", fill(RealBasicVSRNet(8, 2, 1), 0.3))
    assert load_checkpoint(path).calibration is None
    assert cli.run(["models", "quantize", str(path)]) == 0
    assert ranges_in_cache(load_checkpoint(path).sha256).is_file()
    calibration = load_checkpoint(path).calibration
    assert calibration.ranges.keys() == {name for name, _ in quantised_convolutions(net_for(load_checkpoint(path)))}


@pytest.mark.nightly
@pytest.mark.parametrize("model", ["realbasicvsr-open-x4", "realbasicvsr-open-fast-x4"])
def test_killed_twice_and_by_ray_it_is_the_same_in_int8(shared_data, tmp_path, model):
    pattern = shared_data / "data/clips/realbasicvsr_demo" / "%08d.png"
    ffmpeg("-framerate", "25", "-i", pattern, "-vf", "crop=64:48", "-frames:v", "24", "-crf", "10", tmp_path / "a.mp4")
    check_killed_twice_and_by_ray(tmp_path, ["a.mp4", "--model", model, "--precision", "int8", "--segment-frames", "4"])


def test_the_models_that_ship_have_their_ranges():
    for name in ("realbasicvsr-open-x4", "realbasicvsr-open-detail-x4", "realbasicvsr-open-fast-x4"):
        checkpoint = load_checkpoint(manifest.verified_path(name))
        assert checkpoint.calibration is not None
        names = {conv for conv, _ in quantised_convolutions(net_for(checkpoint))}
        assert checkpoint.calibration.ranges.keys() == names
