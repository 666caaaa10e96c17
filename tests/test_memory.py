"""The planner of memory: near what is measured, and it chooses what fits."""

import re
from dataclasses import replace

import pytest
import torch

from benchmarks.memory import make_clip, measure
from tests.support.enhancing import enhance
from tests.support.listening import Listener
from tests.support.networks import fill
from tests.support.small_device import SmallDevice
from tests.support.upscaling import CPU, GPU, exact, frames_of, segment, upscale_whole
from vsr_pipeline.checkpoints.load import Checkpoint
from vsr_pipeline.clip.geometry import Sizing
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.memory import around_model_bytes, first_that_fits
from vsr_pipeline.enhance.realbasicvsr import variants_of
from vsr_pipeline.enhance.realbasicvsr_memory import NetworkSizes, peak_bytes
from vsr_pipeline.enhance.spec import Context, ModelSpec
from vsr_pipeline.errors import ConfigError, ResourceError
from vsr_pipeline.jobs.batch.settings import settings_of
from vsr_pipeline.jobs.fingerprint import fingerprint_of
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.models.winograd import winograd_library
from vsr_pipeline.runtime import memory
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.timeline import ClipSize

GB = 10**9
MANY = 1000
DEFAULTS = UpscaleConfig()


OFFICIAL = NetworkSizes(64, 20, 64, 20)


def checkpoint(sizes=OFFICIAL):
    """A checkpoint of which only the sizes count."""
    return Checkpoint(
        family="realbasicvsr",
        state_dict={},
        mid_channels=sizes.channels,
        num_propagation_blocks=sizes.blocks,
        num_cleaning_blocks=sizes.cleaning_blocks,
        cleaning_channels=sizes.cleaning_channels,
        reconstruction_channels=(sizes.channels, 64),
        flow_levels=6,
        sha256="",
    )


def needs(clip, settings=DEFAULTS, *, on_gpu=False, precision="bf16"):
    variants = variants_of(checkpoint(), settings, GPU if on_gpu else CPU, precision, allow_cpu=False)
    return variants, [variant.memory_bytes(clip) for variant in variants]


def chosen(width, height, allowed, **where):
    variants, bytes_of = needs(ClipSize(width, height, MANY), **where)
    level = first_that_fits(bytes_of, allowed)
    return None if level is None else variants[level].description


@pytest.mark.parametrize(
    ("gigabytes", "width", "height", "rung"),
    [
        (24, 3840, 2160, "windows of 7"),
        (8, 1920, 1080, "windows of 7"),
        (24, 1920, 1080, "windows of 30"),
        (8, 1280, 720, "windows of 30"),
        (4, 640, 360, "windows of 30"),
    ],
)
def test_what_fits_on_a_gpu(gigabytes, width, height, rung):
    """Of all of its memory, a tenth is left free."""
    assert chosen(width, height, 0.9 * gigabytes * GB, on_gpu=True) == rung


def test_graphs_keep_memory_where_they_are_recorded():
    without = UpscaleConfig(cuda_graphs=False)
    small, large = ClipSize(960, 540, MANY), ClipSize(1280, 720, MANY)
    assert needs(small, on_gpu=True)[1][0] > needs(small, without, on_gpu=True)[1][0] + GB
    assert needs(large, on_gpu=True)[1] == needs(large, without, on_gpu=True)[1]
    assert needs(small)[1] == needs(small, without)[1]


def test_less_where_less_is_allowed():
    allowed = [24, 12, 8, 6, 5, 4.5, 2]
    rungs = [chosen(1920, 1080, amount * GB, on_gpu=True) for amount in allowed]
    assert rungs[0] == "windows of 30"
    assert rungs[-1] is None
    order = [rung.description for rung in needs(ClipSize(1, 1, 1), on_gpu=True)[0]]
    levels = [order.index(rung) for rung in rungs if rung is not None]
    assert levels == sorted(levels)
    assert len(set(levels)) >= 3


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_more_of_anything_needs_more(on_gpu, precision):
    def peak(width=640, height=360, frames=MANY, band_rows=None, **settings):
        return peak_bytes(
            DEFAULTS.model_copy(update=settings),
            ClipSize(width, height, frames),
            OFFICIAL,
            on_gpu=on_gpu,
            sample_bytes=4 if precision == "fp32" else 2,
            band_rows=band_rows,
        )

    for values in (
        [peak(width=width) for width in range(64, 3000, 64)] if not on_gpu else [peak(), peak(1280, 720)],
        [peak(max_seq_len=length) for length in range(1, 60)],
        [peak(lookahead=length) for length in range(1, 60)],
        [peak(frames=frames) for frames in range(1, 42)],
        [peak(4000, 4000, band_rows=rows, max_seq_len=5, cleaning=1.0) for rows in (64, 128, 256, 512)],
    ):
        assert values == sorted(values)
        assert values[0] < values[-1]
    assert peak(frames=42) == peak(frames=10**6)
    _, by_rung = needs(ClipSize(1920, 1080, MANY), on_gpu=on_gpu, precision=precision)
    assert by_rung == sorted(by_rung, reverse=True)


def test_hr_frames_that_are_changed_are_held_twice():
    settings, clip = UpscaleConfig(max_seq_len=5), ClipSize(4000, 4000, MANY)

    def peak(cleaning):
        changed = settings.model_copy(update={"cleaning": cleaning})
        return peak_bytes(changed, clip, OFFICIAL, on_gpu=True, sample_bytes=2, band_rows=64)

    # Less than a whole frame where another stage is the largest without it.
    assert 0.9 * 4000 * 4000 * 3 * 4 * 16 < peak("auto") - peak(1.0) <= 4000 * 4000 * 3 * 4 * 16


@pytest.mark.skipif(winograd_library() is None, reason="needs ncnn")
def test_on_a_cpu_in_fp32_the_time_of_winograd_is_given_up_before_that_of_bands():
    rungs, by_rung = needs(ClipSize(1920, 1080, MANY), precision="fp32", settings=UpscaleConfig(precision="fp32"))
    order = [rung.description for rung in rungs]
    following = ["direct convolutions in windows of 7", "bands of 512 rows"]
    assert order[order.index("windows of 7") + 1 :][:2] == following
    assert by_rung == sorted(by_rung, reverse=True)
    direct = UpscaleConfig(precision="fp32", convolutions="direct")
    assert not any("direct" in rung.description for rung in needs(ClipSize(64, 64, 1), direct)[0])


@pytest.mark.parametrize(
    ("precision", "band_rows", "height", "windows"),
    [
        pytest.param("bf16", None, 64, 4, marks=pytest.mark.nightly),  # slow where bf16 is emulated
        ("fp32", None, 64, 1),
        pytest.param("bf16", 64, 256, 1, marks=pytest.mark.nightly),
    ],
)
def test_arithmetic_of_what_pytorch_holds(precision, band_rows, height, windows):
    """Counted to the byte, without what libraries take under PyTorch and allocators cannot use."""
    net = fill(RealBasicVSRNet(64, 1, 1), 0.3)
    cut = {"max_seq_len": windows, "lookahead": 1, "warm_up": 0}
    device = SmallDevice(exact(net, precision=precision, band_rows=band_rows, **cut).upscaler, None)
    frames = frames_of(windows + 2, height, 64)
    upscale_whole(device, frames)
    settings = UpscaleConfig(max_seq_len=windows, lookahead=1)
    clip = ClipSize(64, height, len(frames))
    sample_bytes = 4 if precision == "fp32" else 2
    expected = peak_bytes(
        settings, clip, NetworkSizes(64, 1, 64, 1), on_gpu=False, sample_bytes=sample_bytes, band_rows=band_rows
    )
    network = expected - around_model_bytes(clip, 4)
    print(f"held {device.peak}, expected {network}: {network / device.peak:.3f}")
    assert 1.0 < network / device.peak < 1.4


@pytest.mark.parametrize(
    "convolutions",
    [
        pytest.param("direct", marks=pytest.mark.nightly),
        pytest.param("winograd", marks=pytest.mark.skipif(winograd_library() is None, reason="needs ncnn")),
    ],
)
def test_a_whole_run_takes_about_what_was_expected(tmp_path, convolutions):
    """Peak of a process of its own, encoder and all; `benchmarks/memory.py` does this for more sizes."""
    torch.save({"state_dict": fill(RealBasicVSRNet(64, 1, 1), 0.3).state_dict()}, tmp_path / "net.pth")
    make_clip(tmp_path / "clip.mp4", 160, 128, 4)
    settings = UpscaleConfig(
        checkpoint=tmp_path / "net.pth",
        precision="fp32",
        convolutions=convolutions,
        max_seq_len=4,
        lookahead=1,
        device="cpu",
    )
    measured = measure(tmp_path, tmp_path / "clip.mp4", settings).main
    clip = ClipSize(160, 128, 4)
    winograd = convolutions == "winograd"
    expected = peak_bytes(
        settings,
        clip,
        NetworkSizes(64, 1, 64, 1),
        on_gpu=False,
        sample_bytes=4,
        band_rows=None,
        winograd=winograd,
    )
    print(f"measured {measured / 1e6:.0f} MB, expected {expected / 1e6:.0f} MB")
    assert measured / 1.1 <= expected <= 1.6 * measured


def test_a_run_keeps_to_its_limit_or_refuses(tmp_path):
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, tmp_path / "tiny.pth")
    make_clip(tmp_path / "clip.mp4", 64, 48, 12)
    options = (
        "--checkpoint",
        str(tmp_path / "tiny.pth"),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--convolutions",
        "direct",
        "--max-seq-len",
        "12",
    )
    refused = enhance(tmp_path / "clip.mp4", tmp_path / "a.mp4", *options, "--memory-limit", "300MB")
    assert refused.code == 5
    assert "frames of 64x48 need about" in refused.reason
    assert "--memory-limit allows 300 MB" in refused.reason
    shorter = UpscaleConfig(max_seq_len=6)
    limit = peak_bytes(
        shorter, ClipSize(64, 48, 12), NetworkSizes(8, 1, 8, 1), on_gpu=False, sample_bytes=4, band_rows=None
    )
    done = enhance(tmp_path / "clip.mp4", tmp_path / "a.mp4", *options, "--memory-limit", f"{limit / 1e6 + 0.1:.1f}MB")
    assert done.code == 0, done.said
    assert "windows of 6 instead of windows of 12: 64x48 in fp32 needs about" in done.notes


@pytest.mark.parametrize(
    ("text", "count"),
    [("800MB", 800 * 10**6), ("6 GB", 6 * GB), ("24 GiB", 24 * 2**30), ("1.5gb", 3 * GB // 2), ("512KiB", 2**19)],
)
def test_amounts_of_memory(text, count):
    assert Config().override(memory_limit=text).upscale.memory_limit_bytes == count


@pytest.mark.parametrize("text", ["6", "6G", "0GB", "-1GB", "GB", "6,5GB", "6GB!", "much", ""])
def test_other_amounts_are_refused(text):
    with pytest.raises(ConfigError, match=r"--memory-limit: must be a number with its unit, such as 800MB.*found"):
        Config().override(memory_limit=text)


@pytest.mark.parametrize("means", [{"memory_limit": "6GB"}, {"cuda_graphs": False}])
def test_jobs_and_batches_go_on_with_other_means(means):
    source = FileIdentity(1, 2, "c0ffee")
    before, after = Config(), Config().override(**means)
    assert fingerprint_of(source, before, {}) == fingerprint_of(source, after, {})
    assert settings_of(before, "{stem}") == settings_of(after, "{stem}")


class Quiet:
    """An upscaler that is never used."""

    def take_notes(self):
        return ()

    def free_caches(self):
        pass


def fallback_with(limit_bytes, **settings):
    settings = UpscaleConfig(device="cpu", **settings)
    made = []

    def noted(variant):
        return replace(variant, build=lambda: made.append(variant.description) or Quiet())

    variants = tuple(map(noted, variants_of(checkpoint(), settings, CPU, "bf16", allow_cpu=False)))
    identity = {"precision": "bf16"}
    context = Context(segment_frames=300)
    spec = ModelSpec(
        name="net", sizing=Sizing(scale=4), description="net", identity=identity, context=context, variants=variants
    )
    return Fallback(spec, limit_bytes=limit_bytes), Listener(), made


def test_a_run_begins_with_what_fits():
    fallback, notes, made = fallback_with(6 * GB)
    said = fallback.begin(ClipSize(1280, 720, MANY), notes)
    assert said == tuple(notes.notes)
    assert re.fullmatch(
        r"windows of 7 instead of windows of 30: 1280x720 in bf16 needs about \d+\.\d GB of memory with windows of 30, "
        r"6\.0 GB are allowed",
        said[0],
    )
    fallback.run(segment(), lambda upscaler: upscaler)
    assert made == ["windows of 7"]
    assert not fallback.may_overlap


def test_files_are_made_in_turn_where_two_encoders_do_not_fit():
    """The second one makes no variant smaller."""
    found = []
    for gigabytes in (6, 9, 10, 12):
        fallback, notes, _ = fallback_with(gigabytes * GB)
        found.append((bool(fallback.begin(ClipSize(1280, 720, MANY), notes)), fallback.may_overlap))
    assert found == [(True, False), (True, True), (False, False), (False, True)]


def test_the_next_clip_begins_with_what_fits_it():
    fallback, notes, made = fallback_with(6 * GB)
    for size in ((1280, 720), (160, 90), (160, 90)):
        fallback.begin(ClipSize(*size, MANY), notes)
        fallback.run(segment(), lambda upscaler: upscaler)
    assert made[:2] == ["windows of 7", "windows of 30"]
    assert len(notes.notes) == 1


def test_everything_fits_where_there_is_no_limit():
    for limit in (1000 * GB, None):
        fallback, notes, made = fallback_with(limit)
        assert fallback.begin(ClipSize(160, 90, MANY), notes) == ()
        fallback.run(segment(), lambda upscaler: upscaler)
        assert (notes.notes, made) == ([], ["windows of 30"])


@pytest.mark.parametrize("settings", [{}, {"windows": "official"}])
def test_a_limit_that_nothing_fits_is_an_error(settings):
    fallback, notes, _ = fallback_with(600 * 10**6, **settings)
    with pytest.raises(ResourceError, match=r"640x360 in bf16 needs about .* --memory-limit allows 600 MB: allow more"):
        fallback.begin(ClipSize(640, 360, MANY), notes)


@pytest.mark.parametrize("channels", [32, 128])
def test_a_network_of_other_sizes_needs_other_memory(channels):
    clip = ClipSize(640, 360, MANY)

    def peak(channels):
        sizes = NetworkSizes(channels, 20, channels, 20)
        return peak_bytes(DEFAULTS, clip, sizes, on_gpu=False, sample_bytes=4, band_rows=None)

    ratio = (peak(channels) - peak(0)) / (peak(64) - peak(0))
    assert ratio == pytest.approx(channels / 64, rel=0.1)


def control_group(root, folder, **files):
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / folder / name.replace("__", ".")).write_text(text)


def test_memory_that_containers_leave(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("12:cpu,memory2:/x\n7:memory:/docker/a\n0::/user/b\n")
    old = {"memory__stat": "cache 9\ntotal_inactive_file 100\n"}
    control_group(tmp_path, "memory/docker", memory__limit_in_bytes="5000", memory__usage_in_bytes="1000", **old)
    control_group(tmp_path, "memory", memory__limit_in_bytes=str(2**63), memory__usage_in_bytes="1000", **old)
    control_group(tmp_path, "user", memory__max="3000", memory__current="2500", memory__stat="inactive_file 40\n")
    control_group(tmp_path, "user/b", memory__max="max", memory__current="2500", memory__stat="inactive_file 40\n")
    assert sorted(memory._left_in_control_groups(membership, tmp_path)) == [540, 4100, 2**63 - 900]
    assert memory._left_in_control_groups(tmp_path / "none", tmp_path) == []
