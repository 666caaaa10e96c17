"""Degradation: every step against its definition, the chains, the configuration."""

import math
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from tests.support.pictures import clip, picture
from vsr_pipeline.degrade.chains import Blur, Chain, Chroma, Noise, RandomOrder, Resize, VideoCompression, varying
from vsr_pipeline.degrade.chroma import saturated
from vsr_pipeline.degrade.compress import jpeg, video
from vsr_pipeline.degrade.config import DegradationConfig, load_degradation
from vsr_pipeline.degrade.degradation import Degradation, apply_chain
from vsr_pipeline.degrade.kernels import gaussian, sinc
from vsr_pipeline.degrade.resize import bicubic_quarter, resize
from vsr_pipeline.degrade.walk import walk
from vsr_pipeline.errors import ConfigError, InputError
from vsr_pipeline.media.antialias import antialiased_bicubic

MIXTURE = ("clean", "light", "video", "worn", "colour", "published")


def only(name):
    """The mixture, reduced to one of its chains."""
    return Degradation(DegradationConfig(preset="mixture", weights={n: float(n == name) for n in MIXTURE}))


def applied(*steps, frames, seed=0, size=None):
    """What steps make of frames, without the quantisation at the end."""
    chain = Chain.model_construct(name="test", weight=1.0, steps=steps)
    return np.stack(list(apply_chain(chain, iter(frames), size or frames.shape[1:3], np.random.default_rng(seed))))


def psnr(a, b):
    return -10 * math.log10(float(((a - b) ** 2).mean()))


# Kernels


@pytest.mark.parametrize("size", [7, 13, 21])
@pytest.mark.parametrize(
    "kernel",
    [
        lambda size: gaussian(size, 1.3, 1.3),
        lambda size: gaussian(size, 2.5, 0.6, 0.7),
        lambda size: gaussian(size, 2, 1, -2.0, beta=0.5),
        lambda size: gaussian(size, 2, 1, 1.0, beta=4),
        lambda size: gaussian(size, 2, 3, 1.0, beta=1.5, plateau=True),
        lambda size: gaussian(size, 0, 0),
        lambda size: sinc(size, math.pi / 3),
        lambda size: sinc(size, math.pi),
    ],
)
def test_a_kernel_sums_to_one_and_is_centred(kernel, size):
    values = kernel(size)
    assert values.shape == (size, size)
    assert values.dtype == np.float32
    assert values.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(values, values[::-1, ::-1], atol=1e-7)


@pytest.mark.parametrize("angle", [0, 0.5, -1.2])
def test_a_gaussian_has_the_covariance_that_was_asked_for(angle):
    kernel = gaussian(41, 3, 1.2, angle).astype(np.float64)
    y, x = np.mgrid[-20:21, -20:21]
    moments = [[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)]
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(moments, turn @ np.diag([9, 1.44]) @ turn.T, atol=0.02)


def test_generalised_and_plateau_kernels_have_their_shapes():
    def profile(**shape):
        line = gaussian(21, 2, 2, **shape)[10]
        return line[11:] / line[10]

    r = np.arange(1, 11) / 2
    for beta in (0.5, 1, 4):
        np.testing.assert_allclose(profile(beta=beta), np.exp(-(r ** (2 * beta)) / 2), atol=1e-5)
        np.testing.assert_allclose(profile(beta=beta, plateau=True), 1 / (1 + r ** (2 * beta)), atol=1e-5)


def test_sinc_passes_what_is_below_its_cutoff_and_stops_what_is_above():
    cutoff = math.pi / 2
    along_x = sinc(21, cutoff).sum(axis=0)
    x = np.arange(-10, 11)

    def response(frequency):
        return (along_x * np.cos(frequency * x)).sum()

    assert response(0.5 * cutoff) == pytest.approx(1, abs=0.1)
    assert abs(response(1.6 * cutoff)) < 0.1
    # cutoff / (2 pi r) J1(cutoff r) against the centre's cutoff^2 / (4 pi), with values of J1 from tables
    line = sinc(21, 1.0)[10]
    for r, j1 in ((1, 0.4400505857), (5, -0.3275791376), (10, 0.0434727462)):
        assert line[10 + r] / line[10] == pytest.approx(2 * j1 / r, rel=1e-5)


# Walks


def test_a_walk_keeps_its_step_and_its_range():
    parameter = varying(1, 2, 0.1)
    starts = []
    rng = np.random.default_rng(0)
    for _ in range(300):
        values = list(islice(walk(parameter, rng), 100))
        starts.append(values[0])
        assert all(1 <= value <= 2 for value in values)
        assert all(abs(b - a) <= 0.1 for a, b in pairwise(values))
        assert len(set(values)) > 50
    assert np.mean(starts) == pytest.approx(1.5, abs=0.05)
    assert np.std(starts) == pytest.approx(1 / math.sqrt(12), abs=0.03)


def test_a_walk_without_step_stands_still():
    values = list(islice(walk(varying(1, 2), np.random.default_rng(0)), 20))
    assert len(set(values)) == 1


# Resizing


@pytest.mark.parametrize(("height", "width"), [(64, 96), (20, 16)])
def test_a_quarter_is_matlabs_bicubic(height, width):
    """The closed form: 16 taps of the cubic with a = -0.5 at (k - 7.5) / 4, edges mirrored."""
    frame = np.random.default_rng(1).random((height, width, 3))
    x = np.abs(np.arange(16) - 7.5) / 4
    taps = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)
    taps /= taps.sum()
    padded = np.pad(frame, ((6, 9), (6, 9), (0, 0)), mode="symmetric")
    rows = sum(tap * padded[k : k + height : 4] for k, tap in enumerate(taps))
    expected = sum(tap * rows[:, k : k + width : 4] for k, tap in enumerate(taps))
    np.testing.assert_allclose(bicubic_quarter(frame.astype(np.float32)[None])[0], expected.clip(0, 1), atol=1e-6)


def test_matlabs_bicubic_keeps_constants_and_ramps():
    ramp = np.broadcast_to(np.linspace(0, 1, 80, dtype=np.float32)[:, None, None], (80, 40, 3))
    # At another ratio than of whole numbers the widened taps, normalised, keep a ramp nearly; so MATLAB's do.
    for size, tolerance in (((20, 10), 1e-6), ((160, 90), 1e-6), ((53, 40), 5e-4)):
        shrunk = antialiased_bicubic(ramp, size)
        assert shrunk.shape == (*size, 3)
        centres = ((np.arange(size[0]) + 0.5) * 80 / size[0] - 0.5) / 79
        inner = slice(size[0] // 6, -size[0] // 6)
        np.testing.assert_allclose(shrunk[inner, 3, 1], centres[inner], atol=tolerance)
        np.testing.assert_allclose(antialiased_bicubic(np.full_like(ramp, 0.3), size), 0.3, atol=1e-6)


@pytest.mark.parametrize("method", ["antialiased", "area", "bilinear", "bicubic"])
def test_no_filter_shifts_the_picture(method):
    """A ramp keeps its value at every point of the picture; half a pixel would be 1/128."""
    ramp = np.broadcast_to(np.linspace(0.5 / 64, 1 - 0.5 / 64, 64, dtype=np.float32)[None, :, None], (64, 64, 3))
    for side in (16, 32):
        line = resize(ramp, (side, side), method)[5, 3:-3, 0]
        np.testing.assert_allclose(line, ((np.arange(side) + 0.5) / side)[3:-3], atol=1e-5)


def test_a_quarter_needs_a_multiple_of_four():
    with pytest.raises(ValueError, match="30x32"):
        bicubic_quarter(np.zeros((1, 32, 30, 3), np.float32))


def test_scaled_sizes_walk_and_are_even():
    step = Resize(scale=varying(0.5, 1.5, 0.1), down=1, up=0, keep=0)
    chain = Chain.model_construct(name="test", weight=1.0, steps=(step,))
    frames = list(apply_chain(chain, iter(clip(30, 64, 48)), (16, 12), np.random.default_rng(0)))
    sizes = [frame.shape[:2] for frame in frames]
    assert len(set(sizes)) > 3
    for height, width in sizes:
        assert height % 2 == width % 2 == 0
        assert 32 <= height <= 96
        assert abs(height * 48 - width * 64) <= 2 * 64


# Noise


def test_gaussian_noise_has_its_variance():
    frames = np.full((3, 96, 96, 3), 0.5, np.float32)
    noise = applied(Noise(sigma=varying(12, 12)), frames=frames) - frames
    assert noise.mean() == pytest.approx(0, abs=3e-4)
    assert noise.std() * 255 == pytest.approx(12, rel=0.02)
    assert abs(np.corrcoef(noise.reshape(-1, 3), rowvar=False)[0, 1]) < 0.03  # channels
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03  # frames


def test_grey_noise_is_the_same_in_all_channels():
    frames = np.full((2, 64, 64, 3), 0.5, np.float32)
    for poisson in (0.0, 1.0):
        noise = applied(Noise(grey=1, poisson=poisson), frames=frames) - frames
        assert noise.std() > 0
        np.testing.assert_allclose(noise[..., 0], noise[..., 1], atol=1e-6)


def test_poisson_noise_has_the_variance_of_its_signal():
    """With all 256 levels in the picture, white is 256 photons: the variance is signal / 256, times scale squared."""
    levels = np.repeat(np.arange(256, dtype=np.float32) / 255, 600).reshape(1, 256, 600, 1).repeat(3, axis=3)
    noise = applied(Noise(poisson=1, poisson_scale=varying(0.5, 0.5)), frames=levels) - levels
    for level in (5, 20, 100, 200):  # drawn exactly below 32 photons, as a Gaussian above
        part = noise[0, level - 2 : level + 3]
        assert part.mean() == pytest.approx(0, abs=2e-3)
        assert part.var() == pytest.approx(level / 255 / 256 * 0.25, rel=0.1)


# Compression


@pytest.mark.parametrize(
    ("shrink", "enlarge"), [("area", "bilinear"), ("bilinear", "nearest"), ("nearest", "bilinear")]
)
def test_colour_loses_detail_and_luma_keeps_it(shrink, enlarge):
    noise = np.random.default_rng(0).uniform(0.3, 0.7, (1, 32, 32, 3)).astype(np.float32)
    frames = 0.25 + 0.25 * (clip(1, 32, 32) + noise)  # away from black and white, where values would be clipped
    step = Chroma(shrink={shrink: 1}, enlarge={enlarge: 1})
    before, after = (cv2.cvtColor(f[0], cv2.COLOR_RGB2YCrCb) for f in (frames, applied(step, frames=frames)))
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=1e-4)
    edges = [np.abs(np.diff(ycrcb[..., 1:], axis=1)).mean() for ycrcb in (before, after)]
    assert 0.1 * edges[0] < edges[1] < 0.95 * edges[0]
    np.testing.assert_allclose(after[..., 1:].mean((0, 1)), before[..., 1:].mean((0, 1)), atol=0.01)


def test_colour_may_lie_beside_its_place():
    frames = np.full((1, 32, 32, 3), 0.5, np.float32)
    frames[:, :, 16:, 0] = 0.75
    red = applied(Chroma(enlarge={"bilinear": 1}, shift=varying(2, 2)), frames=frames)[0, 16]
    plain = applied(Chroma(enlarge={"bilinear": 1}), frames=frames)[0, 16]
    colour = [line[:, 0] - line[:, 2] for line in (red, plain)]
    np.testing.assert_allclose(colour[0][4:], colour[1][2:-2], atol=1e-5)


def test_a_factor_on_colour_leaves_luma_and_grey():
    frame = 0.3 + 0.4 * picture(16, 16)
    vivid = saturated(frame, 1.3)
    before, after = (cv2.cvtColor(f, cv2.COLOR_RGB2YCrCb) for f in (frame, vivid))
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=1e-4)
    np.testing.assert_allclose(after[..., 1:] - 0.5, 1.3 * (before[..., 1:] - 0.5), atol=1e-3)
    assert np.array_equal(saturated(frame, 1.0).round(5), frame.round(5))


def test_jpeg_compresses():
    frame = picture(64, 96)
    losses = [psnr(jpeg(frame, quality), frame) for quality in (10, 50, 95)]
    assert losses == sorted(losses)
    assert losses[2] - losses[0] > 8


@pytest.mark.parametrize("encoder", ["h264", "hevc", "mpeg4"])
@pytest.mark.parametrize("size", [(64, 64), (33, 45), (10, 8)])
def test_video_encoders_return_every_frame_in_order(encoder, size):
    frames = clip(9, *size)
    coded = np.stack(list(video(iter(frames), encoder, crf=18)))
    assert coded.shape == frames.shape
    errors = [[((a - b) ** 2).mean() for b in frames] for a in coded]
    assert [int(np.argmin(row)) for row in errors] == list(range(9))


@pytest.mark.parametrize("encoder", ["h264", "hevc", "mpeg4"])
def test_video_encoders_really_compress(encoder):
    frames = applied(Noise(sigma=varying(8, 8)), frames=clip(8, 64, 64))
    by_crf = [psnr(np.stack(list(video(iter(frames), encoder, crf=crf))), frames) for crf in (36, 28, 20)]
    assert by_crf == sorted(by_crf)
    assert by_crf[0] < 30
    by_size = [psnr(np.stack(list(video(iter(frames), encoder, bits_per_frame=b))), frames) for b in (2e3, 1e4, 6e4)]
    assert by_size == sorted(by_size)
    assert by_size[2] - by_size[0] > 0.5


@pytest.mark.parametrize("encoder", ["h264", "hevc", "mpeg4"])
def test_a_video_encoder_gives_the_same_every_time(encoder):
    """Whatever lies in memory: x264 and x265 read what they did not write, unless they are kept from it."""
    frames = applied(Noise(sigma=varying(8, 8)), frames=clip(8, 64, 64))
    for rate in ({"crf": 28}, {"bits_per_frame": 3000}):
        results, memory = set(), []
        for k in range(8):
            memory.append(np.random.default_rng(k).random(1000 + 777 * k))
            results.add(np.stack(list(video(iter(frames), encoder, **rate))).tobytes())
        assert len(results) == 1


def test_video_is_420_and_keeps_colour_and_place():
    frames = np.full((3, 32, 32, 3), 0.5, np.float32)
    frames[:, :, ::2] = [0.7, 0.4, 0.5]  # chroma that changes with every column, at about the same luma
    frames[:, 16:] = [0.8, 0.3, 0.2]
    coded = np.stack(list(video(iter(frames), "h264", crf=1)))
    assert np.ptp(coded[0, 4, 4:28, 0] - coded[0, 4, 4:28, 1]) < 0.1
    np.testing.assert_allclose(coded[:, 20:], frames[:, 20:], atol=3 / 255)
    assert np.abs(coded[:, 15, 4:28].mean(axis=(0, 1)) - coded[:, 4, 4:28].mean(axis=(0, 1))).max() < 0.2


def test_frames_of_other_sizes_are_made_alike():
    frames = [picture(64, 64), picture(50, 70), picture(66, 62)]
    assert [frame.shape for frame in video(iter(frames), "h264", crf=20)] == [(64, 64, 3)] * 3


def test_no_frames_are_no_video():
    assert list(video(iter([]), "h264", crf=20)) == []


# Chains


@pytest.mark.parametrize("name", MIXTURE)
def test_a_chain_gives_quantised_frames_that_depend_on_the_seed_alone(name):
    frames = clip()
    results = [only(name).degrade(frames, (32, 32), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert results[0].shape == (6, 32, 32, 3)
    assert results[0].dtype == np.float32
    np.testing.assert_array_equal(results[0], np.rint(results[0] * 255) / np.float32(255))
    np.testing.assert_array_equal(results[0], results[1])
    assert name == "clean" or not np.array_equal(results[0], results[2])


def test_the_generator_goes_on_and_can_be_restored():
    rng = np.random.default_rng(0)
    degradation = only("video")
    state = rng.bit_generator.state
    first, second = (degradation.degrade(clip(3), (32, 32), rng) for _ in range(2))
    assert not np.array_equal(first, second)
    rng.bit_generator.state = state
    np.testing.assert_array_equal(degradation.degrade(clip(3), (32, 32), rng), first)


def test_frames_in_any_layout_give_the_same():
    frames = clip(3)
    mirrored = np.ascontiguousarray(frames[::-1].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)[::-1]
    one, other = (only("video").degrade(f, (32, 32), np.random.default_rng(5)) for f in (frames, mirrored))
    np.testing.assert_array_equal(one, other)


def test_clean_is_the_bicubic_quarter():
    frames = clip(2)
    spoiled = only("clean").degrade(frames, (32, 32), np.random.default_rng(0))
    np.testing.assert_array_equal(spoiled, np.rint(bicubic_quarter(frames) * 255) / np.float32(255))


def test_different_frames_drift():
    """A still picture is blurred a little differently in every frame, never much from one to the next."""
    still = np.repeat(picture(64, 64)[None], 30, axis=0)
    for shape in ("iso", "aniso", "generalised_aniso", "plateau_iso", "sinc"):
        step = Blur(shapes={shape: 1}, sigma=varying(0.5, 3, 0.05), sizes=(15, 15))
        blurred = applied(step, frames=still)
        steps = [np.abs(b - a).max() for a, b in pairwise(blurred)]
        assert min(steps) > 0
        assert max(steps) < 0.15
        assert np.abs(blurred[-1] - blurred[0]).max() > np.median(steps)


def shift(picture, reference):
    """(x, y) in pixels by which a picture is moved against another, by least squares on the gradients."""
    dy, dx = np.gradient(reference)
    slopes = np.stack([dx[3:-3, 3:-3].ravel(), dy[3:-3, 3:-3].ravel()], axis=1)
    return -np.linalg.lstsq(slopes, (picture - reference)[3:-3, 3:-3].ravel())[0]


def test_the_measure_of_shifts():
    wide = picture(192, 194)
    (quarter, moved) = bicubic_quarter(np.stack([wide[:, 1:-1], wide[:, :-2]]))
    np.testing.assert_allclose(shift(moved[..., 1], quarter[..., 1]), [0.25, 0], atol=0.04)


@pytest.mark.parametrize("preset", ["mild", "medium", "heavy", "published", "video", "worn"])
def test_the_spoiled_picture_stays_in_place_and_keeps_its_colour(preset):
    degradation = only(preset) if preset in MIXTURE else Degradation(DegradationConfig(preset=preset))
    shifts, casts = [], []
    for seed in range(8):
        still = np.repeat(picture(192, 192, seed)[None], 3, axis=0)
        quarter = bicubic_quarter(still[:1])[0]
        spoiled = degradation.degrade(still, (48, 48), np.random.default_rng(seed)).mean(axis=0)
        shifts.append(shift(spoiled[..., 1], quarter[..., 1]))
        casts.append((spoiled - quarter).mean(axis=(0, 1)))
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.04  # half a pixel of the truth is 0.125
    assert np.abs(np.mean(casts, axis=0)).max() < 1.5 / 255


def test_strengths_are_ordered():
    frames = clip()
    quarter = bicubic_quarter(frames)
    values = [
        psnr(Degradation(DegradationConfig(preset=p)).degrade(frames, (32, 32), np.random.default_rng(0)), quarter)
        for p in ("heavy", "medium", "mild")
    ]
    assert values == sorted(values)


def test_worn_is_from_medium_to_worse_than_heavy():
    frames = clip()
    quarter = bicubic_quarter(frames)
    medium, heavy = (
        psnr(Degradation(DegradationConfig(preset=p)).degrade(frames, (32, 32), np.random.default_rng(0)), quarter)
        for p in ("medium", "heavy")
    )
    worn = [psnr(only("worn").degrade(frames, (32, 32), np.random.default_rng(seed)), quarter) for seed in range(12)]
    assert min(worn) < heavy < max(worn) < medium


def test_light_is_from_untouched_to_a_little_worse_than_mild():
    frames = clip()
    quarter = bicubic_quarter(frames)
    mild = psnr(
        Degradation(DegradationConfig(preset="mild")).degrade(frames, (32, 32), np.random.default_rng(0)), quarter
    )
    light = [psnr(only("light").degrade(frames, (32, 32), np.random.default_rng(seed)), quarter) for seed in range(24)]
    assert mild - 3 < min(light) < mild
    assert max(light) > 45


def test_the_weights_say_how_often_a_chain_is_drawn():
    """Chains that can be told apart by what they give, without any noise."""
    chains = tuple(
        Chain(name=n, weight=w, steps=(Resize(filters={f: 1}),))
        for n, w, f in (("a", 1, "area"), ("b", 3, "bilinear"), ("c", 0, "antialiased"))
    )
    degradation = Degradation(DegradationConfig(chains=chains))
    frames = picture(16, 16)[None]
    area = np.rint(resize(frames[0], (4, 4), "area") * 255) / np.float32(255)
    rng = np.random.default_rng(0)
    drawn = [np.array_equal(degradation.degrade(frames, (4, 4), rng)[0], area) for _ in range(800)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.05)


def test_random_order_and_probability():
    resize_to_lq, blur = Resize(filters={"area": 1}), Blur(sigma=varying(3, 3), sizes=(15, 15))
    chain = Chain(name="any", steps=(RandomOrder(groups=((resize_to_lq,), (blur,))), Noise(probability=0)))
    degradation = Degradation(DegradationConfig(chains=(chain,)))
    frames = picture(64, 64)[None]
    rng = np.random.default_rng(0)
    results = {degradation.degrade(frames, (16, 16), rng).tobytes() for _ in range(20)}
    assert len(results) == 2


# Configuration


def test_the_published_table():
    (chain,) = DegradationConfig(preset="published").resolved_chains
    kinds = [step.kind for step in chain.steps]
    second_order = ["blur", "resize", "noise", "jpeg"]
    assert kinds == [*second_order, "video_compression", *second_order, "random_order"]
    first, second = chain.steps[0], chain.steps[5]
    assert sum(first.shapes.values()) == pytest.approx(1)
    assert (first.sizes, first.sigma.high, second.sigma.high, second.probability) == ((7, 21), 3, 1.5, 0.8)
    assert chain.steps[4].bits_per_frame == varying(10_000, 100_000)


def test_toml_is_read(tmp_path):
    path = tmp_path / "d.toml"
    path.write_text('[degradation]\npreset = "mixture"\nweights = { clean = 0.5, published = 0 }\n')
    weights = {chain.name: chain.weight for chain in load_degradation(path).resolved_chains}
    assert weights == {"clean": 0.5, "light": 0.15, "video": 0.35, "worn": 0.2, "colour": 0.1, "published": 0}
    path.write_text(
        "[[degradation.chains]]\n"
        'name = "vhs"\n'
        "steps = [\n"
        '  { kind = "blur", sigma = { low = 0.5, high = 2, step = 0.02 } },\n'
        '  { kind = "resize" },\n'
        '  { kind = "video_compression", encoders = { mpeg4 = 1 }, crf = { low = 24, high = 34 } },\n'
        "]\n"
    )
    (chain,) = load_degradation(path).resolved_chains
    assert [step.kind for step in chain.steps] == ["blur", "resize", "video_compression"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no section"),
        ("[degradation]\npreset = ", "is not TOML"),
        ('[degradation]\npreset = "cruel"', "preset"),
        ("[degradation]\nweights = { vhs = 1 }", "the chains are clean, light, video, worn, colour, published"),
        ("[degradation]\nweights = { clean = -1 }", "weights.clean"),
        (
            "[degradation]\nweights = { clean = 0, light = 0, video = 0, worn = 0, colour = 0, published = 0 }",
            "above 0",
        ),
        ('[degradation]\nchains = [{ name = "a", steps = [{ kind = "jpeg" }] }]', "last resize"),
        ('[degradation]\nchains = [{ name = "a", steps = [{ kind = "fog" }] }]', "fog"),
    ],
)
def test_what_is_wrong_in_toml_is_named(tmp_path, text, said):
    path = tmp_path / "d.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_degradation(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="none"):
        load_degradation(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "make",
    [
        lambda: varying(2, 1),
        lambda: Blur(sizes=(7, 20)),
        lambda: Blur(shapes={"iso": 0}),
        lambda: Blur(sigma=varying(-1, 1)),
        lambda: Resize(scale=varying(1.1, 2)),
        lambda: Resize(probability=0.5),
        lambda: Resize(up=0, down=0, keep=0),
        lambda: VideoCompression(),
        lambda: VideoCompression(crf=varying(20, 60)),
        lambda: VideoCompression(bits_per_frame=varying(0, 60)),
        lambda: VideoCompression(crf=varying(20, 30), bits_per_frame=varying(1e4, 1e5)),
        lambda: DegradationConfig(preset="mild", chains=(Chain(name="a", steps=(Resize(),)),)),
        lambda: DegradationConfig(chains=(Chain(name="a", steps=(Resize(),)),) * 2),
        lambda: Chain(name="a", steps=(RandomOrder(groups=((Resize(scale=varying(0.5, 1)),), (Resize(),))),)),
    ],
)
def test_what_cannot_be_meant_is_refused(make):
    with pytest.raises(ValidationError):
        make()
