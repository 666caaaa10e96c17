"""Training: data as defined, a loss that falls, runs that resume to the bit, and what is said when it cannot be."""

import csv
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tests.support.clips import make_video
from tests.support.listening import Listener
from tests.support.speeds import know_speeds
from vsr_pipeline import cli
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.errors import (
    ChangedError,
    ConfigError,
    DiskFullError,
    InputError,
    Interrupted,
    ModelError,
    ResourceError,
)
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.vgg import VGG19Features
from vsr_pipeline.train import checkpoint
from vsr_pipeline.train.config import RunConfig, differences, load_run_config
from vsr_pipeline.train.data import Sequences, batches, crisper, sharpened
from vsr_pipeline.train.loop import train
from vsr_pipeline.train.losses import distance, luma, pixel_losses
from vsr_pipeline.train.network import TrainingNet, build_network
from vsr_pipeline.train.perceptual import PerceptualLoss
from vsr_pipeline.train.processes import Processes
from vsr_pipeline.train.sources import Motion, crop_span, draw_motion, find_sources, pan_still, read_span
from vsr_pipeline.train.teacher import Lessons
from vsr_pipeline.train.trainer import Trainer, learning_rate

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("train_*.toml"))

TINY = {"mid_channels": 8, "propagation_blocks": 1, "cleaning_channels": 4, "cleaning_blocks": 1}


class Acts(Listener):
    """Does something at each note."""

    def __init__(self, action):
        super().__init__()
        self.heard_note = action


def picture(seed, height=160, width=200):
    """Shades and lines with a little colour and grain."""
    rng = np.random.default_rng(seed)
    shades = rng.integers(40, 216, (height // 32 + 1, width // 32 + 1)).astype(np.uint8)
    grey = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        a, b = rng.integers(0, min(height, width), (2, 2))
        cv2.line(grey, a.tolist(), b.tolist(), int(rng.integers(256)), 3, cv2.LINE_AA)
    tint = rng.integers(0, 20, 3).astype(np.uint8)
    return np.minimum(grey[..., None].astype(int) + tint + rng.integers(0, 6, grey.shape)[..., None], 255).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder of three pictures and a video."""
    folder = tmp_path_factory.mktemp("material")
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), picture(seed))
    make_video(folder / "clip.mp4", width=128, height=96, audio=False)
    return folder


def settings(folder, **sections):
    """A run of a tiny network on tiny sequences."""
    values = {
        "data": {"folders": [str(folder)], "truth_size": 64, "frames": 2, "mirror": False, "still_shrink": [1, 2]},
        "degradation": {"preset": "mild"},
        "model": TINY,
        "losses": {"sharpen": False},
        "train": {"iterations": 4, "batch": 1, "workers": 0, "device": "cpu", "log_every": 1, "learning_rate": 1e-3},
    }
    return RunConfig.model_validate(
        {name: values.get(name, {}) | sections.get(name, {}) for name in [*values, *sections]}
    )


def write_config(path, config):
    """As TOML: what is in JSON, but for null, is an inline table."""

    def toml(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(toml, value)) + "]"
        return json.dumps(value)

    path.write_text("".join(f"{name} = {toml(value)}\n" for name, value in json.loads(config.to_json()).items()))
    return path


# Settings.


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_training_config_loads(path):
    config = load_run_config(path)
    assert RunConfig.model_validate_json(config.to_json()) == config
    assert tomllib.loads(path.read_text()).keys() <= RunConfig.model_fields.keys()


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "iteration", 5, "unknown key 'train.iteration': did you mean 'iterations'?"),
        ("data", "truth_size", 66, r"data.truth_size: .*multiple of 4.*found 66"),
        ("data", "still_shrink", [0.5, 1], "enlarged truth is not sharp"),
        ("data", "spoiled_frames", 30, "needs mirror = false"),
        ("losses", "perceptual", 1, "needs perceptual_weights"),
        ("losses", "output", 0, "needs a loss on HR frames"),
        ("train", "precision", "fp16", "train.precision: .*'auto', 'fp32' or 'bf16'"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(tmp_path, section, key, value, message):
    path = tmp_path / "c.toml"
    sections = {"data": 'folders = ["x"]\n', "losses": "", "train": ""}
    sections[section] += f"{key} = {json.dumps(value)}\n"
    path.write_text("".join(f"[{name}]\n{text}" for name, text in sections.items()))
    with pytest.raises(ConfigError, match=message) as caught:
        load_run_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_psnr_as_a_loss_weighs_sequences_alike():
    truth = torch.zeros(2, 3, 3, 8, 8)
    damage = torch.stack([torch.full((3, 3, 8, 8), 0.5), torch.full((3, 3, 8, 8), 0.05)]).requires_grad_()
    loss = distance(truth + damage, truth, "psnr")
    assert loss.item() == pytest.approx(-(6.02 + 26.02) / 2, abs=0.2)
    loss.backward()
    # A step of the same part of its damage takes the same number of decibels off each.
    heavy, light = (damage.grad * damage).flatten(1).sum(1).tolist()
    assert light == pytest.approx(heavy, rel=0.05)
    perfect = distance(truth, truth, "psnr")
    assert perfect.item() == pytest.approx(-40)


def test_the_loss_on_colour_does_not_see_brightness():
    truth = torch.rand(1, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = settings("x", losses={"chroma": 2.0, "cleaning": 0}).losses
    brighter = pixel_losses(truth + 0.1, truth, truth, None, losses)
    assert brighter["chroma"].item() == pytest.approx(0, abs=1e-6)
    redder = pixel_losses(truth + torch.tensor([0.1, 0, 0]).view(3, 1, 1), truth, truth, None, losses)
    # Of red alone Cr sees 0.701 / 1.402 of it, Cb 0.299 / 1.772.
    assert redder["chroma"].item() == pytest.approx(2 * 0.1 * (0.5 + 0.1687) / 2, rel=1e-3)


def test_learning_rate_rises_and_falls():
    config = settings("x", train={"warm_up": 4, "schedule": "cosine", "learning_rate": 1.0}).train
    rates = [learning_rate(config, n, n / 100) for n in range(101)]
    assert rates[0] == pytest.approx(0.25)
    assert rates[:4] == sorted(rates[:4])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[50] == pytest.approx(0.505)
    assert rates[100] == pytest.approx(0.01)


# Data.


def test_a_still_that_rests_is_its_own_shrunk_cut():
    still = np.zeros((160, 200, 3), np.uint8)
    still[..., 0], still[..., 1] = np.arange(200), np.arange(160)[:, None]
    frames = pan_still(still, 3, 64, 2.5, Motion((0, 0), (0, 0), 0, 0, 0), np.random.default_rng(0))
    assert np.array_equal(frames[0], frames[2])
    for channel, axis in ((0, 1), (1, 0)):
        along = frames[0, ..., channel].mean(axis=1 - axis)
        np.testing.assert_allclose(along, along[0] + 2.5 * np.arange(64), atol=1)
    assert frames[0, ..., 2].max() == 0


def test_a_still_moves_as_it_is_told():
    frames = pan_still(picture(1), 4, 64, 1.0, Motion((5, 0), (0, 0), 0, 0, 0), np.random.default_rng(0))
    for before, after in pairwise(frames):
        assert np.abs(after[:, :-5].astype(int) - before[:, 5:]).max() <= 3


def test_a_camera_moves_slowly_more_often_than_fast():
    motions = [draw_motion(np.random.default_rng(seed)) for seed in range(400)]
    speeds = np.array([np.hypot(*motion.velocity) for motion in motions])
    assert np.mean(speeds == 0) == pytest.approx(1 / 8, abs=0.04)
    assert np.median(speeds[speeds > 0]) == pytest.approx(2, abs=0.5)
    assert 7 < speeds.max() <= 8


def test_of_several_places_the_one_with_most_detail_is_cut():
    """Nothing is to be seen but in the right third."""
    still = np.full((96, 300, 3), 128, np.uint8)
    still[:, 200:] = np.random.default_rng(0).integers(0, 256, (96, 100, 3))

    def shows_it(cut):
        return cut[0].std() > 0

    for candidates, least, most in ((1, 0, 14), (8, 18, 20)):
        rngs = [np.random.default_rng(seed) for seed in range(20)]
        rest = Motion((0, 0), (0, 0), 0, 0, 0)
        assert least <= sum(shows_it(pan_still(still, 2, 64, 1.0, rest, rng, candidates)) for rng in rngs) <= most
        assert least <= sum(shows_it(crop_span(still[None], 64, 1.0, rng, candidates)) for rng in rngs) <= most


def test_a_span_of_a_video_ends_at_a_cut(material):
    assert len(read_span(material / "clip.mp4", 0.0, 20)) == 12
    assert len(read_span(material / "clip.mp4", 0.55, 4)) == 4


def test_sharpening_leaves_flat_areas_and_raises_edges():
    frames = np.full((1, 64, 64, 3), 100, np.uint8)
    assert np.array_equal(sharpened(frames), frames)
    frames[:, :, 32:] = 180
    sharp = sharpened(frames)[0, 32, :, 0].astype(int)
    assert sharp[31] < 90
    assert sharp[32] > 190


def test_what_is_made_crisper_stays_in_range_and_has_its_limit():
    frames = np.full((1, 64, 64, 3), 100, np.uint8)
    frames[:, :, 32:] = 180
    crisp = crisper(frames, 0.2)[0, 32, :, 0].astype(int)
    assert crisp[[0, 63]].tolist() == [100, 180]
    assert 90 < crisp[31] < 95
    assert 185 < crisp[32] < 190
    assert np.array_equal(crisper(frames, 0.4), crisper(frames, 100))
    frames[:, :, 32:] = 255
    assert crisper(frames, 0.4).max() == 255


def test_only_what_is_spoiled_is_to_become_sharper_and_lq_frames_stay_as_they_are(material):
    sources = find_sources((material,), 64, pytest.fail)

    def sample(sharpen_spoiled, **degradation):
        losses = {"sharpen": False, "sharpen_spoiled": sharpen_spoiled}
        config = settings(material, degradation=degradation, losses=losses)
        return Sequences(sources, config, seed=3, with_truth=True)[0]

    untouched = {"preset": "mixture", "weights": dict.fromkeys(("light", "video", "worn", "colour", "published"), 0)}
    clean = sample(0.1, **untouched)
    assert torch.equal(clean["sharp"], clean["truth"])
    plain, mild, heavy = sample(0, preset="heavy"), sample(0.01, preset="mild"), sample(0.01, preset="heavy")
    assert "sharp" not in plain
    assert all(torch.equal(plain[name], heavy[name]) for name in plain)
    change = [(s["sharp"].float() - s["truth"].float()).abs().mean() for s in (mild, heavy)]
    assert 0 < change[0] < change[1]


def test_two_ways_to_sharpen_exclude_each_other(material):
    with pytest.raises(ValidationError, match="give one of them"):
        settings(material, losses={"sharpen": True, "sharpen_spoiled": 0.1})


def test_a_sample_depends_on_its_number_alone(material):
    config = settings(material, data={"video_share": 0.5}, degradation={"preset": "published"})
    sources = find_sources((material,), 64, pytest.fail)
    assert [source.kind for source in sources] == ["still", "still", "still", "video"]
    first, second = (Sequences(sources, config, seed=3, with_truth=True) for _ in range(2))
    there = [first[k] for k in range(6)]
    back = [second[k] for k in reversed(range(6))][::-1]
    for a, b in zip(there, back, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert there[0]["lq"].shape == there[0]["clean"].shape == (2, 3, 16, 16)
    assert there[0]["truth"].shape == (2, 3, 64, 64)
    assert not torch.equal(there[0]["lq"], there[1]["lq"])
    prepared = list(batches(second, [2, 3], batch=2, workers=1))
    assert torch.equal(prepared[0]["lq"], torch.stack((there[2]["lq"], there[3]["lq"])))


def test_a_part_is_seen_of_what_was_spoiled_as_one_video(material):
    sources = find_sources((material,), 64, pytest.fail)
    wholes, parts = (
        Sequences(sources, settings(material, data=data, degradation={"preset": "heavy"}), seed=0, with_truth=True)
        for data in ({"frames": 8}, {"frames": 3, "spoiled_frames": 8})
    )
    firsts = set()
    for k in range(12):
        whole, part = wholes[k], parts[k]
        assert part["lq"].shape[0] == 3
        places = [n for n in range(6) if torch.equal(part["lq"], whole["lq"][n : n + 3])]
        assert places
        if len(places) == 1:  # else nothing moves
            (first,) = places
            firsts.add(first)
            for name in ("truth", "clean"):
                assert torch.equal(part[name], whole[name][first : first + 3])
    assert len(firsts) > 3


def test_mirrored_sequences_are_not_mirrored_in_what_spoils_them(material):
    noise = {"name": "noise", "steps": [{"kind": "resize"}, {"kind": "noise"}]}
    config = settings(material, data={"mirror": True}, degradation={"preset": None, "chains": [noise]})
    sample = Sequences(find_sources((material,), 64, pytest.fail), config, seed=0, with_truth=True)[0]
    assert torch.equal(sample["truth"], sample["truth"].flip(0))
    assert not torch.equal(sample["lq"], sample["lq"].flip(0))


def test_damaged_and_tiny_files_are_named_and_skipped(material, tmp_path):
    for name in ("0.png", "clip.mp4"):
        (tmp_path / f"cut_{name}").write_bytes((material / name).read_bytes()[:1500])
    (tmp_path / "empty.jpg").touch()
    cv2.imwrite(str(tmp_path / "tiny.png"), picture(0, 60, 200))
    config = write_config(tmp_path / "c.toml", settings(tmp_path))
    assert cli.run(["train", str(config), "--output", str(tmp_path / "run")]) == 3
    shutil.copy(material / "1.png", tmp_path)
    skipped = []
    assert [source.path.name for source in find_sources((tmp_path,), 64, skipped.append)] == ["1.png"]
    assert len(skipped) == 4
    assert any("tiny.png: it has 200x60 pixels, the truth needs 64x64" in line for line in skipped)
    with pytest.raises(InputError, match="no such folder of training data"):
        find_sources((tmp_path / "none",), 64, skipped.append)


# The network.


def test_a_new_cleaning_module_changes_nothing(tmp_path):
    torch.manual_seed(0)
    basicvsr = BasicVSRNet(8, 2)
    path = tmp_path / "basicvsr.pth"
    torch.save(basicvsr.state_dict(), path)
    config = settings(
        "x", model={"init": str(path), "cleaning_channels": 4, "cleaning_blocks": 2} | {"mid_channels": 8}
    )
    net = build_network(config.model)
    frames = torch.rand(1, 2, 3, 64, 64)
    with torch.inference_mode():
        output, cleaned = TrainingNet(net)(frames, True)
        torch.testing.assert_close(output, basicvsr(frames), rtol=0, atol=1e-5)
    assert torch.equal(cleaned, frames)
    with pytest.raises(ConfigError, match=r"mid_channels 16: .*basicvsr.pth has 8"):
        build_network(settings("x", model={"init": str(path), "mid_channels": 16}).model)


def test_a_small_network_begins_with_parts_of_a_large_one(tmp_path):
    torch.manual_seed(0)
    large = RealBasicVSRNet(8, 2, 3, cleaning_channels=4)
    path = tmp_path / "large.pth"
    torch.save(large.state_dict(), path)
    sizes = {"mid_channels": 4, "propagation_blocks": 1, "cleaning_channels": 4, "cleaning_blocks": 2, "flow_levels": 5}
    parts = {"flow_from": str(path), "cleaning_from": str(path), "reconstruction_channels": [4, 2]}
    config = settings("x", model=sizes | parts)
    small = build_network(config.model)
    first = small.basicvsr.spynet.state_dict()
    assert len(first) == 5 * 10 + 2
    assert all(torch.equal(value, large.basicvsr.spynet.state_dict()[name]) for name, value in first.items())
    cleaning = small.image_cleaning.state_dict()
    assert all(torch.equal(value, large.image_cleaning.state_dict()[name]) for name, value in cleaning.items())
    assert small.basicvsr.conv_last.weight.shape == (3, 2, 3, 3)
    with pytest.raises(ConfigError, match=r"2 cleaning blocks of 6 channels of .*large.pth: it has no such weights"):
        build_network(settings("x", model=sizes | parts | {"cleaning_channels": 6}).model)


def test_no_gradient_reaches_the_flow():
    net = build_network(settings("x").model)
    output, _ = TrainingNet(net)(torch.rand(1, 2, 3, 16, 16), True)
    output.sum().backward()
    assert all(p.grad is None for p in net.basicvsr.spynet.parameters())
    assert all(p.grad is not None for p in net.image_cleaning.parameters())


# Runs.


@pytest.mark.nightly
def test_a_short_run_lowers_the_loss_and_its_model_is_usable(material, tmp_path):
    run = tmp_path / "run"
    noisy = {"name": "noisy", "steps": [{"kind": "resize"}, {"kind": "noise", "sigma": {"low": 40, "high": 40}}]}
    train_settings = {"iterations": 64, "batch": 2, "precision": "bf16", "learning_rate": 5e-3, "log_every": 8}
    sections = {"data": {"video_share": 0}, "model": {"cleaning_channels": 6}, "validation": {"clips": 1}}
    config = settings(material, degradation={"preset": None, "chains": [noisy]}, train=train_settings, **sections)
    path = write_config(tmp_path / "c.toml", config)
    assert cli.run(["train", str(path), "--output", str(run)]) == 0
    rows = [line.split(",") for line in (run / "curves.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("loss")]) for row in rows[1:9]]
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2]), losses
    assert cv2.imread(str(run / "curves.png")) is not None

    loaded = load_checkpoint(run / "model.safetensors")
    assert (loaded.mid_channels, loaded.cleaning_channels, loaded.num_cleaning_blocks) == (8, 6, 1)
    assert (run / "model.safetensors").stat().st_size < 2 * sum(
        p.numel() for p in net_for(loaded).parameters()
    ) + 99_999
    assert open_model(UpscaleConfig(checkpoint=run / "model.safetensors", device="cpu")).description

    assert cli.run(["train", str(path), "--output", str(run), "--resume"]) == 0  # nothing is left to do
    changed = config.model_copy(update={"losses": config.losses.model_copy(update={"cleaning": 2.0})})
    with pytest.raises(ChangedError, match=r"begun with other values of losses\.cleaning:"):
        train(changed, run, reporter=Listener())


def test_a_run_of_before_a_setting_existed_goes_on_with_its_default(material):
    config = settings(material, losses={"sharpen": False, "cleaning": 2.0})
    before = json.loads(config.to_json())
    del before["losses"]["sharpen_spoiled"], before["losses"]["cleaning"]
    assert differences(json.dumps(before), config) == ["losses.cleaning"]


@pytest.mark.parametrize(("speed", "dtype"), [(0.5, torch.float32), (1.05, torch.float32), (2.0, torch.bfloat16)])
def test_auto_is_what_was_measured_to_be_faster_and_a_run_keeps_it(material, own_cache, speed, dtype):
    def seen_by(trainer):
        seen = []
        trainer.net.basicvsr.conv_last.register_forward_hook(lambda *given: seen.append(given[2].dtype))
        trainer.enhance(torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8))
        return set(seen)

    config = settings(material, train={"precision": "auto"})
    trainer = Trainer(config, Processes("cpu"))
    channels = trainer.net.basicvsr.mid_channels
    know_speeds({"fp32": 1.0, "bf16": speed}, channels=channels)
    assert seen_by(trainer) == {dtype}
    know_speeds({"fp32": 1.0, "bf16": 1 / speed}, channels=channels)
    resumed = Trainer(config, Processes("cpu"))
    resumed.restore(trainer.parts())
    assert seen_by(resumed) == {dtype}


@pytest.mark.nightly
def test_a_network_overfits_one_clip(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), picture(5, 64, 64))
    chain = {"name": "bicubic", "steps": [{"kind": "resize", "filters": {"antialiased": 1}}]}
    config = settings(
        folder,
        data={"flips": False, "frames": 1},
        degradation={"preset": None, "chains": [chain]},
        model={"mid_channels": 16, "cleaning_channels": 8},
        train={"iterations": 300, "learning_rate": 3e-3, "schedule": "cosine", "log_every": 300, "ema": 0.9},
        validation={"clips": 1},
    )
    scores = train(config, tmp_path / "run", reporter=Listener()).scores
    assert scores["psnr_y"] > scores["psnr_y_bicubic"] + 2, scores


def test_stopping_and_resuming_gives_the_same_bits(material, tmp_path):
    """The adversarial stage, and Ctrl-C in between."""
    config = settings(
        material,
        losses={"gan": 0.05, "sharpen": True},
        train={"iterations": 3, "gradient_clip": 1.0, "warm_up": 2, "schedule": "cosine"},
    )

    def press_ctrl_c(message):
        if message.startswith("iteration 1:"):
            os.kill(os.getpid(), signal.SIGINT)

    names = ("through", "stopped")
    handler = signal.getsignal(signal.SIGINT)
    train(config, tmp_path / "through", reporter=Listener())
    with pytest.raises(Interrupted) as caught:
        train(config, tmp_path / "stopped", reporter=Acts(press_ctrl_c))
    assert caught.value.exit_code == 130
    assert checkpoint.load(tmp_path / "stopped").iteration == 1
    assert signal.getsignal(signal.SIGINT) == handler
    listener = Listener()
    train(config, tmp_path / "stopped", must_resume=True, reporter=listener)
    assert any("resumed" in note and "at iteration 1" in note for note in listener.notes)
    one, other = (load_checkpoint(tmp_path / name / "model.safetensors").state_dict for name in names)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    one, other = (checkpoint.load(tmp_path / name).parts for name in names)
    for part in ("model", "ema", "discriminator"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())


def test_the_curve_of_a_resumed_run_is_a_mean_over_what_it_did(material, tmp_path):
    for iterations in (1, 4):
        config = settings(material, train={"iterations": iterations, "log_every": 4})
        train(config, tmp_path / "run", reporter=Listener())
    names, *rows = (line.split(",") for line in (tmp_path / "run" / "curves.csv").read_text().splitlines())
    (row,) = (dict(zip(names, row, strict=True)) for row in rows)
    assert row["iteration"] == "4"
    assert float(row["rate"]) == pytest.approx(1e-3)


def test_a_teacher_is_learnt_from_and_asked_once(material, tmp_path):
    """Stopped in the middle of the teacher's work and of the training: the same bits as without."""
    teacher = {"model": "bicubic-x4", "sequences": 3, "clean_share": 0.5, "truth_share": 0.25}
    config = settings(material, teacher=teacher, losses={"sharpen": False, "cleaning": 0}, train={"iterations": 8})
    train(config, tmp_path / "whole", reporter=Listener())
    answers = sorted((tmp_path / "whole" / "teacher").glob("*.safetensors"))
    assert [path.name for path in answers] == [f"{k:06d}.safetensors" for k in range(3)]
    sample = load_file(answers[1])
    larger = [
        cv2.resize(frame.permute(1, 2, 0).numpy(), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        for frame in sample["lq"]
    ]
    assert sample["answer"].dtype == torch.uint8
    assert sample["answer"].shape == sample["truth"].shape == (2, 3, 64, 64)
    wanted = np.stack(larger).transpose(0, 3, 1, 2).astype(np.float32)
    assert np.abs(wanted - sample["answer"].numpy()).mean() < 3  # of 255: not the very same bicubic, or unspoiled

    times = {path: path.stat().st_mtime_ns for path in answers}
    shared = config.teacher.model_copy(update={"folder": tmp_path / "whole" / "teacher"})
    begun = config.model_copy(update={"teacher": shared, "train": config.train.model_copy(update={"iterations": 3})})
    answers[2].unlink()  # as if it had been killed there
    train(begun, tmp_path / "parts", reporter=Listener())
    train(begun.model_copy(update={"train": config.train}), tmp_path / "parts", reporter=Listener())
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(path.stat().st_mtime_ns == times[path] for path in answers[:2])

    mixed = begun.model_copy(update={"teacher": shared.model_copy(update={"truth_share": 0.5})})
    train(mixed, tmp_path / "mixed", reporter=Listener())  # of the same answers
    assert all(path.stat().st_mtime_ns == times[path] for path in answers[:2])
    other = begun.model_copy(update={"teacher": shared.model_copy(update={"clean_share": 0.25})})
    with pytest.raises(ChangedError, match="answers of another teacher"):
        train(other, tmp_path / "other", reporter=Listener())


def test_a_teacher_of_some_frames_gives_the_luma_of_what_is_learnt(material, tmp_path):
    teacher = {"model": "bicubic-x4", "sequences": 2, "frames": 1, "truth_share": 0.25}
    data = {"frames": 3, "flips": False}
    losses = {"sharpen": False, "cleaning": 0}
    config = settings(material, teacher=teacher, data=data, losses=losses, train={"iterations": 2})
    train(config, tmp_path / "run", reporter=Listener())
    kept = load_file(tmp_path / "run" / "teacher" / "000001.safetensors")
    lessons = Lessons(tmp_path / "run" / "teacher", config)
    sample = next(sample for sample in map(lessons.__getitem__, range(2)) if torch.equal(sample["lq"], kept["lq"]))
    answer = kept["answer"].float()
    learnt, truth = sample["sharp"].float(), sample["truth"][1:2].float()
    assert learnt.shape == answer.shape == (1, 3, 64, 64)
    inside = (learnt.amin(1) > 0) & (learnt.amax(1) < 255)
    assert (luma(learnt) - (0.75 * luma(answer) + 0.25 * luma(truth)))[inside].abs().max() < 1
    assert ((learnt[:, 0] - learnt[:, 2]) - (truth[:, 0] - truth[:, 2]))[inside].abs().max() <= 1
    with pytest.raises(ValidationError, match=r"teacher.frames 4: a sequence has 3 frames"):
        settings(material, teacher=teacher | {"frames": 4}, data=data)


def test_a_teacher_must_enlarge_four_times(material, tmp_path):
    config = settings(material, teacher={"model": "espcn-x2"})
    with pytest.raises(ConfigError, match="espcn-x2 enlarges 2 times: 4 is wanted"):
        train(config, tmp_path / "run", reporter=Listener())


def test_perceptual_loss_compares_features(tmp_path):
    path = tmp_path / "vgg19.pth"
    torch.manual_seed(0)
    convolutions = VGG19Features().half().convolutions.state_dict()
    torch.save({f"features.{name}": value for name, value in convolutions.items()}, path)
    loss = PerceptualLoss(path)
    frames = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert loss(frames, frames.detach()).item() == 0
    loss(frames, 1 - frames.detach()).backward()
    assert frames.grad.abs().sum() > 0
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="has no VGG19: 32 of its 32 tensors"):
        PerceptualLoss(path)
    with pytest.raises(ModelError, match=r"no such file .* set losses\.perceptual = 0"):
        PerceptualLoss(tmp_path / "none.pth")


def test_cleaning_alone_leaves_the_rest_as_it_is(material, tmp_path):
    config = settings(material, losses={"output": 0}, train={"part": "cleaning", "max_minutes": 60})
    result = train(config, tmp_path, reporter=Listener())
    assert result.complete
    before = build_before(config)
    after = load_checkpoint(result.weights).state_dict
    changed = {
        name.split(".")[0] for name, value in before.items() if not torch.equal(after[name], value.half().float())
    }
    assert changed == {"image_cleaning"}


def build_before(config):
    torch.manual_seed(config.train.seed)
    return build_network(config.model).state_dict()


def test_the_time_limit_ends_a_run_cleanly(material, tmp_path):
    config = settings(material, train={"iterations": 1000, "max_minutes": 1e-6})
    result = train(config, tmp_path, reporter=Listener())
    assert not result.complete
    assert "time is up after 1 iteration," in str(result)
    again = train(config, tmp_path, reporter=Listener())
    assert again.iterations == 1


# What can go wrong.


def test_nothing_to_resume(material, tmp_path):
    with pytest.raises(InputError, match="leave out --resume"):
        train(settings(material), tmp_path, must_resume=True, reporter=Listener())


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    first = checkpoint.State(1, 0.0, 1, "{}", {"model": {"a": torch.zeros(10)}})
    checkpoint.save(tmp_path, first)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match="no space left"):
            checkpoint.save(tmp_path, checkpoint.State(2, 0.0, 1, "{}", {"model": {"a": torch.zeros(100_000)}}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.load(tmp_path).iteration == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_several_processes_need_accelerate(material, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ResourceError, match=r"2 processes .* pip install 'vsr-pipeline\[train\]'"):
        train(settings(material), tmp_path, reporter=Listener())


ACCELERATE = """
import os
import torch

class PartialState:
    def __init__(self, cpu):
        torch.distributed.init_process_group("gloo")
        self.process_index, self.device = int(os.environ["RANK"]), torch.device("cpu")
"""


@pytest.mark.nightly
def test_several_processes_share_the_validation(material, tmp_path):
    """Two processes over gloo, brought together as accelerate does; they never learn, so that one gives the same."""
    config = settings(
        material,
        train={"iterations": 2, "learning_rate": 1e-30},
        validation={"every": 1, "clips": 3},
    )
    alone = train(config, tmp_path / "alone", reporter=Listener()).scores
    (tmp_path / "accelerate.py").write_text(ACCELERATE)
    write_config(tmp_path / "train.toml", config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    repository = Path(__file__).parent.parent
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{repository}",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "vsr_pipeline", "train", "train.toml", "--output", "both"]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, env=environment | {"RANK": str(n)}, stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    rows = list(csv.DictReader((tmp_path / "both" / "curves.csv").read_text().splitlines()))
    assert len(rows) == 2
    for name, value in alone.items():
        assert [float(row[name]) for row in rows] == pytest.approx([value] * 2, rel=1e-4), name
