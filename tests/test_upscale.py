"""The upscalers: same frames out as in, windows that do not show, the official script's windows."""

import itertools

import numpy as np
import pytest
import torch

from tests.support.networks import CASES, GOLDEN, fill, golden_net
from tests.support.upscaling import CPU, Model, exact, frames_of, run, segments_of, worst
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import enhance_frames
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.realbasicvsr_official import OfficialUpscaler
from vsr_pipeline.enhance.spec import Context
from vsr_pipeline.errors import InputError, ModelError
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet


@pytest.fixture(scope="module")
def tiny():
    return fill(RealBasicVSRNet(8, 2, 2), 0.7)


@pytest.mark.parametrize("windows", [{}, {"max_seq_len": 3}, {"max_seq_len": 1, "lookahead": 0}, {"segment_frames": 4}])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_as_many_frames_out_as_in_and_all_work_reported(tiny, windows, count):
    outputs, work = run(exact(tiny, **windows), frames_of(count, 20, 30))
    assert [o.shape for o in outputs] == [(80, 120, 3)] * count
    assert work == pytest.approx(count)


def test_windows_with_enough_lookahead_equal_the_whole_clip(tiny):
    frames = frames_of(12)
    whole, _ = run(exact(tiny, max_seq_len=12), frames)
    windowed, _ = run(exact(tiny, max_seq_len=4, lookahead=12), frames)
    assert worst(whole, windowed) == 0


def test_segments_with_enough_context_equal_the_whole_clip(tiny):
    frames = frames_of(12)
    whole, _ = run(exact(tiny), frames)
    parts, _ = run(exact(tiny, segment_frames=4, warm_up=12, lookahead=12), frames)
    assert worst(whole, parts) == 0


def test_nothing_crosses_a_cut(tiny):
    first, second = frames_of(4, seed=1), frames_of(4, seed=2)
    together, _ = run(exact(tiny), first + second, cuts=(4,))
    apart = run(exact(tiny), first)[0] + run(exact(tiny), second)[0]
    assert worst(together, apart) == 0


@torch.inference_mode()
def test_exact_is_the_network(tiny):
    frames = frames_of(5)
    outputs, _ = run(exact(tiny), frames, passes=2)
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    expected = tiny.basicvsr(tiny.clean(clip, 2)[None])[0].clamp(0, 1).mul(255).round()
    assert worst(outputs, expected.permute(0, 2, 3, 1).numpy()) <= 1


def test_sixteen_bits_stay_sixteen_bits(tiny):
    frames = [f.astype(np.uint16) * 257 for f in frames_of(2)]
    outputs, _ = run(exact(tiny), frames)
    eight, _ = run(exact(tiny), frames_of(2))
    assert outputs[0].dtype == np.uint16
    assert len(np.unique(outputs[0])) > 1000
    assert worst([np.round(o / 257) for o in outputs], eight) <= 1


@pytest.mark.nightly
def test_bf16_is_near_fp32():
    frames = frames_of(6)
    full, _ = run(exact(fill(RealBasicVSRNet(16, 4, 2), 0.7)), frames)
    half, _ = run(exact(fill(RealBasicVSRNet(16, 4, 2), 0.7), precision="bf16"), frames)
    error = np.mean((np.stack(full).astype(float) - np.stack(half)) ** 2)
    assert 10 * np.log10(255**2 / error) > 45


def test_cleaning_is_decided_by_the_threshold(tiny):
    frames = frames_of(3)
    assert exact(tiny, refine_threshold=255).upscaler.decide(frames) == cleaned(1)
    assert exact(tiny, refine_threshold=0).upscaler.decide(frames).description == "cleaned three times"
    assert exact(fill(BasicVSRNet(8, 1), 0.7)).upscaler.decide(frames).description == ""


def test_input_that_ends_early_is_an_error(tiny):
    model = exact(tiny)
    segment = segments_of(model.context, 5)[0]
    with pytest.raises(InputError, match="2 frames before"):
        list(
            enhance_frames(
                model.upscaler,
                iter(frames_of(3)),
                segment,
                cleaned(1),
                geometry=Geometry.enlarged((64, 64), 4),
                on_work=lambda _: None,
            )
        )


def test_nan_is_an_error_and_never_a_black_frame():
    net = fill(BasicVSRNet(8, 1), 0.7)
    net.conv_last.bias.data[0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        run(exact(net), frames_of(1))


def test_memory_is_bounded_by_the_window(tiny):
    """However long the clip is, frames are read only as far ahead as a window and its lookahead reach."""
    model = exact(tiny, max_seq_len=2, lookahead=3)
    segment = segments_of(model.context, 20)[0]
    counter = itertools.count(1)
    read = 0

    def source():
        nonlocal read
        for frame in frames_of(20, 8, 8):
            read = next(counter)
            yield frame

    outputs = enhance_frames(
        model.upscaler, source(), segment, cleaned(1), geometry=Geometry.enlarged((8, 8), 4), on_work=lambda _: None
    )
    for made, _ in enumerate(outputs, start=1):
        assert read <= made + 2 + 3


def test_bicubic_enlarges():
    flat = np.full((5, 7, 3), 99, np.uint8)
    spec = open_model(UpscaleConfig(model="bicubic-x4"))
    outputs, work = run(Model(spec.variants[0].build(), spec.context), [flat, flat])
    assert outputs[0].shape == (20, 28, 3)
    assert (outputs[0] == 99).all()
    assert work == 2


def test_official_windows_reproduce_the_official_script():
    case = CASES["tiny_windows"]
    net = golden_net(case)
    frames = frames_of(case["frames"], case["height"], case["width"], case["seed"])
    upscaler = OfficialUpscaler(net, case["refine_threshold"], device=CPU, max_seq_len=case["max_seq_len"])
    length = case["max_seq_len"] * max(1, 4 // case["max_seq_len"])
    outputs, work = run(Model(upscaler, Context(segment_frames=length, follow_shots=False)), frames)
    with np.load(GOLDEN / "mmedit_0.16.1.npz") as golden:
        expected = (golden["tiny_windows/output"].clip(0, 1) * 255).round().transpose(0, 2, 3, 1)
    stride = case["stride"]
    assert worst([o[::stride, ::stride] for o in outputs], expected) <= 1
    assert work == len(frames)
