"""Checkpoints of other architectures, by spandrel: small networks with random weights, saved and loaded back."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.support.packages import needed, spandrel
from vsr_pipeline.checkpoints.zoo import ZooNet, load_zoo_net
from vsr_pipeline.enhance.tiles import upscale_in_tiles
from vsr_pipeline.enhance.tiling import plan_tiles
from vsr_pipeline.errors import ModelError
from vsr_pipeline.models.compact import SRVGGNetCompact

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # SwinIR, when a test builds one


def small_networks():
    """Networks by architecture: convolutions, attention in windows, and a restorer without a change of size."""
    spandrel()
    from spandrel.architectures.PLKSR import PLKSR
    from spandrel.architectures.SPAN import SPAN
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    return {
        "SPAN": SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
        "PLKSR": PLKSR(dim=8, upscaling_factor=3, n_blocks=2),
        "SwinIR": SwinIR(
            upscale=4, img_size=16, window_size=8, depths=[2], embed_dim=12, num_heads=[2], upsampler="pixelshuffle"
        ),
    }


@pytest.fixture(params=["SPAN", "PLKSR", "SwinIR"])
def network(request):
    return request.param, small_networks()[request.param].eval().requires_grad_(False)


def frame(height=19, width=26, count=1):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("container", ["safetensors", "params", "params_ema", "state_dict", None])
def test_any_container_gives_the_network(tmp_path, container):
    network = small_networks()["SPAN"].eval()
    path = tmp_path / ("net.safetensors" if container == "safetensors" else "net.pth")
    state = network.state_dict()
    if container == "safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save({container: state} if container else state, path)
    net = load_zoo_net(path)
    assert (net.architecture, net.scale) == ("SPAN", 2)
    with torch.inference_mode():
        torch.testing.assert_close(net(frame()), network(frame()).clamp(0, 1), rtol=0, atol=1e-5)


def test_frames_of_any_size_come_out_scaled(tmp_path, network):
    name, module = network
    torch.save(module.state_dict(), tmp_path / "net.pth")
    net = load_zoo_net(tmp_path / "net.pth")
    assert net.architecture == name
    for height, width in ((16, 24), (19, 26), (9, 8)):
        output = net(frame(height, width, count=2))
        assert output.shape == (2, 3, net.scale * height, net.scale * width)
        assert output.dtype == torch.float32
        assert 0 <= output.min() <= output.max() <= 1
    assert net.dtypes[0] == torch.float32
    assert not any(parameter.requires_grad for parameter in net.network.parameters())


def test_computes_in_the_type_that_its_weights_have(tmp_path):
    torch.save(small_networks()["SPAN"].state_dict(), tmp_path / "net.pth")
    net = load_zoo_net(tmp_path / "net.pth")
    whole = net(frame())
    assert torch.bfloat16 in net.dtypes
    net.network.to(torch.bfloat16)
    assert net(frame()).dtype == torch.float32
    assert (net(frame()) - whole).abs().mean() < 0.05


def test_runs_in_tiles(tmp_path, network):
    _, module = network
    torch.save(module.state_dict(), tmp_path / "net.pth")
    net = load_zoo_net(tmp_path / "net.pth")
    assert net.can_tile
    picture = frame(70, 131)
    tiling = plan_tiles(70, 131, tile=48, radius=net.receptive_radius(), multiple_of=net.multiple_of)
    tiled = upscale_in_tiles(net, picture, tiling)
    assert tiled.shape == (1, 3, net.scale * 70, net.scale * 131)
    assert (tiled - net(picture)).abs().mean() < 1e-3
    assert net.memory_bytes(70, 131) > 2 * net.memory_bytes(35, 131) - 1 > 0


def test_a_network_for_grey_pictures_takes_each_colour(tmp_path):
    spandrel()
    torch.manual_seed(0)
    grey = SRVGGNetCompact(in_channels=1, channels=8, num_convs=2, scale=2)
    torch.save({"params": grey.state_dict()}, tmp_path / "grey.pth")
    net = load_zoo_net(tmp_path / "grey.pth")
    output = net(frame())
    with torch.inference_mode():
        expected = torch.cat([grey(plane) for plane in frame().split(1, dim=1)], dim=1).clamp(0, 1)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_an_unknown_architecture_is_refused_in_one_line(tmp_path):
    spandrel()
    torch.save({"params": {"a.weight": torch.zeros(3, 3)}}, tmp_path / "net.pth")
    with pytest.raises(ModelError, match=r"neither this program nor spandrel .* \(its 1 tensors begin with a.weight\)"):
        load_zoo_net(tmp_path / "net.pth")


def test_a_damaged_network_is_refused_in_one_line(tmp_path):
    state = small_networks()["SPAN"].state_dict()
    state["conv_1.sk.weight"] = torch.zeros(5, 5, 1, 1)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ModelError, match="cannot be loaded by spandrel") as error:
        load_zoo_net(tmp_path / "net.pth")
    assert "\n" not in str(error.value)


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    spandrel()
    path = tmp_path / "net.pth"
    with pytest.raises(ModelError, match="No such file"):
        load_zoo_net(path)
    for content in (b"", b"<!doctype html>", b"PK\x03\x04 nothing"):
        path.write_bytes(content)
        with pytest.raises(ModelError):
            load_zoo_net(path)
    torch.save({"params": {"a": torch.zeros(1)}, "run": print}, path)
    with pytest.raises(ModelError, match="could run code"):
        load_zoo_net(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"purpose": "FaceSR"}, "for FaceSR; usable are SR and Restoration"),
        ({"input_channels": 4}, "from 4 to 3 channels; usable are 3 to 3 and 1 to 1"),
    ],
)
def test_a_network_that_makes_no_frames_from_frames_is_refused(changes, message):
    library = spandrel()
    module = small_networks()["SPAN"]
    architecture = library.MAIN_REGISTRY["SPAN"].architecture
    settings = {
        "purpose": "SR",
        "tags": [],
        "supports_half": False,
        "supports_bfloat16": False,
        "scale": 2,
        "input_channels": 3,
        "output_channels": 3,
    }
    with pytest.raises(ModelError, match=message):
        ZooNet(library.ImageModelDescriptor(module, module.state_dict(), architecture, **settings | changes))


def imported_beside(code):
    """The message for a checkpoint, in a process of its own where `code` runs first."""
    script = f"""
{code}
from pathlib import Path
from vsr_pipeline.checkpoints.zoo import load_zoo_net
from vsr_pipeline.errors import ModelError
try:
    load_zoo_net(Path("net.pth"))
except ModelError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_without_spandrel_the_message_says_how_to_get_it():
    code = "import sys; sys.modules['spandrel'] = None"
    assert imported_beside(code) == (
        "net.pth is no checkpoint of this program's own networks, and the library for other architectures, spandrel, "
        "is not installed: run `pip install 'vsr-pipeline[zoo]'`\n"
    )


def test_a_torchvision_of_another_build_is_named():
    needed("spandrel")
    message = imported_beside("")
    if "No such file" in message:
        pytest.skip("torchvision fits torch here")
    assert "torchvision::nms does not exist" in message
    assert message.endswith(f"install the build of torchvision that fits torch {torch.__version__}\n")
