"""`--precision auto`: what is fastest is measured, once for a machine, and a clip keeps what it was begun in."""

import json
import math
import random
import shutil
import time

import numpy as np
import pytest
import torch

from tests.support.clips import make_video, same_pictures
from tests.support.networks import fill
from tests.support.speeds import WINOGRAD, know_speeds
from vsr_pipeline import api, cli
from vsr_pipeline.clip.footage import analyse_clip, footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance import precision
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.precision import Candidate, candidates_for, ranked, reason_for, speeds_of
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.recorded import as_recorded, as_recorded_here
from vsr_pipeline.errors import PrecisionError, StoppedForNow
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.jobs.segment import SegmentTask
from vsr_pipeline.jobs.workers.spec import spec_of
from vsr_pipeline.jobs.workers.worker import SegmentWorker
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.winograd import winograd_library
from vsr_pipeline.plan import schedule_of
from vsr_pipeline.runtime.files import make_folder
from vsr_pipeline.runtime.progress import Reporter

CPU = torch.device("cpu")
BF16_IS_FAST = {"fp32": 1.0, "bf16": 5.0}
FP32_IS_FAST = {"fp32": 1.0, "bf16": 0.5}
WINOGRAD_IS_FAST = {"fp32": 1.0, WINOGRAD: 5.0}
DIRECT_IS_FAST = {"fp32": 1.0, WINOGRAD: 0.5}
OPTIONS = {"segment_frames": 2, "max_seq_len": 2, "lookahead": 1, "warm_up": 1, "preset": "ultrafast"}


class Machine:
    """A clock that only computing moves on, so that a test decides how long each candidate takes.

    Args:
        noise: returns the factor by which another program makes a call longer.
    """

    def __init__(self, monkeypatch, noise=lambda: 1.0):
        self.now = self.own = 0.0
        self.loads = []
        self.noise = noise
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "thread_time", lambda: self.own)

    def candidate(self, name, seconds, **options):
        def load(channels, device, tile):
            assert (channels, device) == (64, CPU)
            self.loads.append(name)
            if seconds is None:
                raise RuntimeError("this device has no such numbers")
            return lambda: self.work(seconds * math.prod(tile) / (16 * 32))

        return Candidate(name, "bf16" if name == "bf16" else "fp32", "direct", load, **options)

    def work(self, seconds):
        self.now += seconds * self.noise()
        self.own += seconds

    def three(self):
        return (
            self.candidate("fp32", 1 / 512),
            self.candidate("winograd", 1 / 1024, share=0.8),
            self.candidate("bf16", 1 / 256),
            self.candidate("fp8", None),
        )


def test_speeds_are_measured_once_in_under_half_a_second(own_cache, monkeypatch):
    machine = Machine(monkeypatch)
    speeds = speeds_of(machine.three(), CPU, 64)
    assert speeds == pytest.approx({"fp32": 1.0, "winograd": 1 / (0.8 / 2 + 0.2), "bf16": 0.5})
    assert 0.1 < machine.now < 0.5
    assert len(list(own_cache.iterdir())) == 1
    loads = len(machine.loads)
    assert speeds_of(machine.three(), CPU, 64) == speeds
    assert len(machine.loads) == loads


def test_what_is_hopelessly_slow_takes_little_time(own_cache, monkeypatch):
    machine = Machine(monkeypatch)
    candidates = [machine.candidate("fp32", 0.002), machine.candidate("emulated", 0.06)]
    assert speeds_of(candidates, CPU, 64)["emulated"] == pytest.approx(0.002 / 0.06)
    assert machine.now < 0.5
    assert machine.loads.count("emulated") == 1


@pytest.mark.parametrize("seed", range(5))
def test_on_a_busy_machine_the_order_is_right_and_is_not_kept(own_cache, monkeypatch, seed):
    generator = random.Random(seed)
    machine = Machine(monkeypatch, noise=lambda: generator.lognormvariate(1.0, 1.5))
    speeds = speeds_of(machine.three(), CPU, 64)
    assert speeds == pytest.approx({"fp32": 1.0, "winograd": 1 / (0.8 / 2 + 0.2), "bf16": 0.5})
    assert not own_cache.exists()
    assert torch.get_num_threads() >= 1


def test_other_machines_threads_and_channels_are_measured_by_themselves(own_cache, monkeypatch):
    machine = Machine(monkeypatch)
    threads = torch.get_num_threads()
    speeds_of(machine.three(), CPU, 64)
    try:
        torch.set_num_threads(threads + 1)
        speeds_of(machine.three(), CPU, 64)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(torch, "__version__", "99.0")
    speeds_of(machine.three(), CPU, 64)
    speeds_of(machine.three()[:2], CPU, 64)
    assert len(list(own_cache.iterdir())) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda _: "[1, 2]",
        lambda _: '{"key": 1, "values": {"fp32": 1.0, "bf16": 9.0}}',
        lambda text: text.replace("0.5", "-0.5"),
        lambda text: text.replace("0.5", "NaN"),
        lambda text: text.replace('"fp32": 1.0', '"fp32": 2.0'),
    ],
)
def test_a_damaged_cache_is_measured_again(own_cache, monkeypatch, damage):
    machine = Machine(monkeypatch)
    speeds = speeds_of(machine.three(), CPU, 64)
    (file,) = own_cache.iterdir()
    file.write_text(damage(file.read_text()))
    loads = len(machine.loads)
    assert speeds_of(machine.three(), CPU, 64) == speeds
    assert len(machine.loads) > loads
    assert json.loads(file.read_text())["values"] == speeds


def test_a_cache_that_cannot_be_written_is_no_error(own_cache, monkeypatch):
    own_cache.parent.parent.mkdir()
    own_cache.parent.write_text("a file where the folder would be")
    assert speeds_of(Machine(monkeypatch).three(), CPU, 64)["bf16"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ({"fp32": 1.0, "winograd": 1.09, "bf16": 0.5}, "fp32"),
        ({"fp32": 1.0, "winograd": 1.1, "bf16": 0.5}, "winograd"),
        ({"fp32": 1.0, "winograd": 1.5, "bf16": 1.6}, "winograd"),
        ({"fp32": 1.0, "winograd": 1.5, "bf16": 1.7}, "bf16"),
        ({"fp32": 1.0, "winograd": 0.5, "bf16": 1.2}, "bf16"),
        ({"fp32": 1.0}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_a_newcomer_has_to_be_a_tenth_faster(monkeypatch, speeds, best):
    ranking = ranked(Machine(monkeypatch).three()[:3], speeds)
    assert ranking[0].name == best
    assert ranking[-1].name == "fp32"


def test_the_real_candidates_compute_on_this_machine(own_cache):
    candidates = candidates_for(CPU)
    speeds, _ = precision._measured(candidates, CPU, 8)
    assert speeds.keys() == {candidate.name for candidate in candidates}
    assert speeds["fp32"] == 1.0
    assert [c.name for c in candidates_for(torch.device("cuda", 0))] == ["fp32", "bf16", "fp16"]


def test_measuring_changes_no_random_numbers(own_cache):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    precision._measured(candidates_for(CPU), CPU, 8)
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.1).state_dict()}, tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def built(checkpoint, **settings):
    return open_model(UpscaleConfig(checkpoint=checkpoint, device="cpu", **settings))


def test_it_is_said_what_was_chosen_and_why(own_cache, checkpoint):
    know_speeds(FP32_IS_FAST)
    taken = built(checkpoint, convolutions="direct")
    assert taken.identity["precision"] == "fp32"
    assert taken.choice == "precision fp32: bf16 was measured 0.5 times as fast on this CPU"
    know_speeds(BF16_IS_FAST)
    taken = built(checkpoint)
    assert taken.identity["precision"] == "bf16"
    assert taken.choice.startswith("precision bf16: fp32 was measured 0.2 times as fast")
    assert built(checkpoint, precision="fp32", convolutions="direct").choice == ""


def test_variants_are_built_without_measuring(own_cache, checkpoint):
    know_speeds(FP32_IS_FAST)
    taken = built(checkpoint, convolutions="direct")
    shutil.rmtree(own_cache)
    for variant in taken.variants:
        assert variant.build() is not None
    assert not own_cache.exists()


def test_a_precision_that_is_not_exact_enough_is_left_out(own_cache, tmp_path):
    net = fill(RealBasicVSRNet(8, 1, 1), 0.1)
    with torch.no_grad():  # large numbers that cancel each other: 8 bits of a mantissa do not hold them
        net.basicvsr.conv_hr.bias += 300
        net.basicvsr.conv_last.weight += 0.3
        net.basicvsr.conv_last.bias -= 300 * net.basicvsr.conv_last.weight.sum((1, 2, 3))
    torch.save({"state_dict": net.state_dict()}, tmp_path / "coarse.pth")
    know_speeds(BF16_IS_FAST)
    taken = built(tmp_path / "coarse.pth", convolutions="direct")
    assert taken.identity["precision"] == "fp32"
    assert "but has" in taken.choice
    assert "dB where 50 are needed" in taken.choice


def test_what_cannot_be_computed_here_is_refused(checkpoint):
    with pytest.raises(PrecisionError, match="--precision fp16 is for GPUs"):
        built(checkpoint, precision="fp16")


def test_a_model_that_cannot_choose_takes_no_precision_of_another_one():
    """`--model` was changed: whoever compares identities says so."""
    recorded = {"model": "realesrgan-x4plus", "device": "cuda", "precision": "fp16", "convolutions": "direct"}
    for settings in (UpscaleConfig(model="fsrcnn-x4"), UpscaleConfig(model="bicubic")):
        assert as_recorded_here(settings, recorded).precision == "auto"
    # Its step computes on the CPU here, so what a GPU was given does not count.
    refined = UpscaleConfig(model="bicubic", device="cpu", refine="realesr-animevideov3")
    assert as_recorded_here(refined, recorded).precision == "auto"


def test_what_was_recorded_takes_the_place_of_auto_only():
    recorded = {"precision": "bf16", "convolutions": "direct", "device": "cpu"}
    taken = as_recorded(UpscaleConfig(), recorded, here=CPU)
    assert (taken.precision, taken.convolutions) == ("bf16", "direct")
    assert as_recorded(UpscaleConfig(precision="fp32"), recorded, here=CPU).precision == "fp32"
    begun_before = UpscaleConfig(cleaning=1.0)  # what was begun before cleaning was measured is cleaned wholly
    assert as_recorded(UpscaleConfig(), recorded | {"device": "cuda"}, here=CPU) == begun_before
    bicubic = {"model": "bicubic-x4", "precision": "auto", "convolutions": "auto"}
    assert as_recorded(UpscaleConfig(), bicubic) == begun_before
    assert as_recorded(UpscaleConfig(), bicubic | {"cleaning": "auto"}) == UpscaleConfig()
    by_winograd = as_recorded(UpscaleConfig(), recorded | {"precision": "fp32", "convolutions": "ncnn 1.0"})
    assert (by_winograd.precision, by_winograd.convolutions) == ("fp32", "winograd")


@pytest.fixture
def folder(tmp_path, monkeypatch, checkpoint, own_cache):
    """Two clips in a folder, with a checkpoint for them."""
    monkeypatch.chdir(tmp_path)
    if winograd_library() is None:
        pytest.skip("needs ncnn: pip install 'vsr-pipeline[ncnn]'")  # two ways that are fast on every CPU
    make_video(tmp_path / "in" / "a.mp4", frames=6, cut=6, audio=False)
    shutil.copyfile(tmp_path / "in" / "a.mp4", tmp_path / "in" / "b.mp4")
    return tmp_path


def config_of(folder):
    return Config().override(checkpoint=folder / "tiny.pth", device="cpu", **OPTIONS)


def run(folder, output, *, segments=None, **options):
    """Enhance a clip; with `segments`, stop after so many."""
    left = [] if segments is None else [False] * segments + [True]
    should_stop = None if segments is None else (lambda: left.pop(0))
    options = api.RunOptions(should_stop=should_stop, **options)
    return api.run(folder / "in" / "a.mp4", output, config_of(folder), options=options, reporter=Reporter())


def recorded(output):
    with Ledger(output.parent / ".vsr" / output.name / "ledger.sqlite") as ledger:
        return ledger.fingerprint()["upscale.convolutions"]


def begin(folder, output):
    """Begin a clip where Winograd's method is fast and stop; then let the cache say otherwise."""
    know_speeds(WINOGRAD_IS_FAST)
    run(folder, folder / "whole" / "a_x4.mp4")
    with pytest.raises(StoppedForNow):
        run(folder, output, segments=1)
    assert recorded(output).startswith("ncnn")
    know_speeds(DIRECT_IS_FAST)


@pytest.mark.parametrize("cache", ["says otherwise", "is gone"])
def test_a_clip_that_was_begun_keeps_its_precision(folder, own_cache, cache):
    output = folder / "out" / "a_x4.mp4"
    begin(folder, output)
    if cache == "is gone":
        shutil.rmtree(own_cache)
    outcome = run(folder, output)
    assert (outcome.computed_frames, outcome.reused_frames) == (4, 2)
    assert "in fp32 by ncnn" in outcome.model
    assert same_pictures(output, folder / "whole" / "a_x4.mp4")
    assert own_cache.exists() == (cache == "says otherwise")  # nothing was measured
    know_speeds(DIRECT_IS_FAST)
    assert "in fp32 on cpu" in run(folder, output, fresh=True, overwrite=True).model


def test_in_a_batch_each_clip_has_its_own(folder):
    output = folder / "out" / "a_x4.mp4"
    begin(folder, output)
    options = api.BatchOptions()
    outcome = api.batch(folder / "in", folder / "out", config_of(folder), options=options, reporter=Reporter())
    assert [clip.reason for clip in outcome.clips] == ["", ""]
    first, second = outcome.clips
    assert (first.computed_frames, first.reused_frames) == (4, 2)
    assert recorded(first.output).startswith("ncnn")
    assert same_pictures(output, folder / "whole" / "a_x4.mp4")
    assert (second.computed_frames, recorded(second.output)) == (6, "direct")
    assert "in fp32 on cpu" in second.model


def test_a_batch_of_begun_clips_measures_nothing(folder, own_cache):
    begin(folder, folder / "out" / "a_x4.mp4")
    (folder / "in" / "b.mp4").unlink()
    shutil.rmtree(own_cache)
    options = api.BatchOptions()
    outcome = api.batch(folder / "in", folder / "out", config_of(folder), options=options, reporter=Reporter())
    assert [clip.computed_frames for clip in outcome.clips] == [4]
    assert not own_cache.exists()


def test_a_dry_run_tells_of_the_precision_that_the_clip_was_begun_in(folder, own_cache, capsys):
    output = folder / "out" / "a_x4.mp4"
    begin(folder, output)
    shutil.rmtree(own_cache)
    (folder / "settings.toml").write_text(config_of(folder).to_toml())
    command = ["run", "in/a.mp4", "--output", str(output), "--config", "settings.toml", "--dry-run"]
    assert cli.run(command) == 0
    assert "in fp32 by ncnn" in capsys.readouterr().err
    assert not own_cache.exists()


def test_images_that_were_begun_keep_their_precision(folder, own_cache):
    def enhanced():
        target = api.image_target(str(folder / "hr" / "frame_%05d.png"))
        config = config_of(folder)
        return api.enhance(folder / "in" / "a.mp4", target, config, reporter=Reporter())

    know_speeds(WINOGRAD_IS_FAST)
    assert "in fp32 by ncnn" in enhanced().model
    images = sorted((folder / "hr").glob("*.png"))
    before = [image.read_bytes() for image in images]
    images[5].unlink()
    shutil.rmtree(own_cache)
    again = enhanced()
    assert ("in fp32 by ncnn" in again.model, again.computed_frames) == (True, 2)
    assert [image.read_bytes() for image in images] == before
    assert not own_cache.exists()
    record = next(folder.rglob("enhance.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"settings": {"program": "0"}, "segments": {}}))
    know_speeds(DIRECT_IS_FAST)
    assert "in fp32 on cpu" in enhanced().model


def test_a_worker_follows_the_clip_or_says_that_it_cannot(folder):
    know_speeds(DIRECT_IS_FAST)
    settings = config_of(folder)
    cpus = torch.get_num_threads()  # the speeds are known for so many
    spec = spec_of(settings.upscale, folder, gpus=False, cpus=cpus, allow_cpu=False)
    spec.token.write_text(spec.secret)
    worker = SegmentWorker()
    ready = worker.prepare(spec)
    assert (ready.identity["precision"], ready.choice[:15]) == ("fp32", "precision fp32:")
    source = make_video(folder / "short.mp4", frames=2, cut=2, audio=False)  # many CPUs emulate bf16
    header = look_at(source, settings.input, frame_rate=None)
    footage = footage_of(header, analyse_clip(header), every_frame=False)
    segment = built(folder / "tiny.pth", precision="bf16").context.segments(footage.timeline)[0]

    def computed(name, **identity):
        task = SegmentTask(
            footage=footage,
            geometry=Geometry.of(header.info, Sizing(scale=4), settings.upscale, even=True),
            schedule=schedule_of(footage.timeline, origin_ticks=0),
            segment=segment,
            encode=settings.encode,
            decision=cleaned(1),
            decision_frames=5,
            folder=make_folder(folder / name),
            identity=dict(ready.identity) | identity,
        )
        return worker.compute(task, JobSource.of(source))

    in_fp32, in_bf16 = computed("one"), computed("two", precision="bf16")
    assert len(in_fp32.segment) == len(in_bf16.segment)
    assert in_fp32.sha256 != in_bf16.sha256
    assert computed("three").sha256 == in_fp32.sha256
    failure = computed("four", convolutions="ncnn 0.1").exception()
    assert isinstance(failure, PrecisionError)


def test_frames_that_are_equal_have_a_psnr():
    frames = torch.rand(1, 3, 8, 8)
    assert precision.psnr_db(frames, frames) == 999
    assert precision.psnr_db(frames * np.nan, frames) == -math.inf


def test_the_reason_where_there_is_nothing_to_compare_with():
    candidate = candidates_for(CPU)[0]
    assert "nothing else could be measured" in reason_for(candidate, {"fp32": 1.0}, {}, CPU)
