"""OpenCV's networks through its own `dnn` module: the same pictures as `cv2.dnn_superres` makes."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.golden.make_superres import EDSR_SCALES, FILES, picture
from tests.support.graph_files import constant, field, node, small_edsr
from vsr_pipeline.checkpoints.graph_def import parse_nodes, with_opencvs_names
from vsr_pipeline.checkpoints.opencv_graph import describe, load_opencv_net
from vsr_pipeline.errors import ModelError

REPOSITORY = Path(__file__).parent.parent
GOLDEN = REPOSITORY / "tests" / "golden" / "superres.npz"
SHIPPED = sorted(path.stem for path in (REPOSITORY / "checkpoints").glob("*.pb"))


def net_of(name, shared_data):
    shipped = REPOSITORY / "checkpoints" / f"{name}.pb"
    return load_opencv_net(shipped if shipped.is_file() else shared_data / "data" / "models" / f"{name}.pb")


def assert_equal(found_rgb, name):
    """Compare with the golden: exactly in its version of OpenCV, within a level in a few samples in others."""
    with np.load(GOLDEN) as golden:
        difference = np.abs(found_rgb[..., ::-1].astype(int) - golden[name])
        if str(golden["version"]) == cv2.__version__:
            assert difference.max() == 0, f"{(difference > 0).sum()} samples differ by up to {difference.max()}"
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("name", FILES)
def test_gives_what_opencvs_own_module_gives(name, shared_data):
    model, net = net_of(name, shared_data)
    assert model.name == re.sub("_", "-", name).lower()
    assert model.scale == net.scale == FILES[name][1]
    assert_equal(net.upscale(np.ascontiguousarray(picture()[..., ::-1])), name)


@pytest.mark.parametrize("scale", EDSR_SCALES)
def test_edsr_gives_what_opencvs_own_module_gives(scale, tmp_path):
    path = tmp_path / f"EDSR_x{scale}.pb"
    path.write_bytes(small_edsr(scale))
    model, net = load_opencv_net(path)
    assert model.name == f"edsr-x{scale}"
    assert_equal(net.upscale(np.ascontiguousarray(picture()[..., ::-1])), f"edsr_x{scale}")


def test_what_ships_needs_no_other_data():
    assert sorted(name for name in FILES if not name.startswith("LapSRN")) == SHIPPED
    notice = (REPOSITORY / "NOTICE").read_text()
    for name in SHIPPED:
        assert f"{name}.pb" in notice


@pytest.mark.parametrize("name", ["ESPCN_x2", "FSRCNN_x3", "LapSRN_x8"])
def test_deeper_pictures_and_floats_are_the_same_picture(name, shared_data):
    _, net = net_of(name, shared_data)
    rgb = np.ascontiguousarray(picture()[..., ::-1])
    in_8_bits = net.upscale(rgb).astype(float) / 255
    in_16_bits = net.upscale(rgb.astype(np.uint16) * 257)
    in_float = net.upscale(rgb.astype(np.float32) / 255)
    assert (in_16_bits.dtype, in_float.dtype) == (np.uint16, np.float32)
    # Colours beyond white and black are cut off in integers, between the network and the change of colour space.
    inside = (in_float > 0.05).all(axis=2) & (in_float < 0.95).all(axis=2)
    assert inside.mean() > 0.2
    assert np.abs(in_16_bits[inside] / 65535 - in_float[inside]).max() < 1e-3
    assert np.abs(in_8_bits[inside] - in_float[inside]).mean() < 3 / 255


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (31, 8)])
def test_any_size_one_after_the_other(height, width):
    _, net = load_opencv_net(REPOSITORY / "checkpoints" / "FSRCNN_x3.pb")
    for side in (width, width + 1):
        frames = torch.rand(2, 3, height, side, generator=torch.Generator().manual_seed(0))
        output = net(frames)
        assert output.shape == (2, 3, 3 * height, 3 * side)
        assert torch.equal(output[1:], net(frames[1:]))


@pytest.mark.parametrize("name", ["ESPCN_x4", "FSRCNN-small_x2", "FSRCNN_x3", "LapSRN_x2", "LapSRN_x4"])
def test_an_output_pixel_sees_no_farther_than_the_receptive_radius(name, shared_data):
    _, net = net_of(name, shared_data)
    radius, scale = net.receptive_radius(), net.scale
    random = np.random.RandomState(0)
    side = 2 * radius + 9
    frame = random.rand(side, side, 3).astype(np.float32)
    changed = frame.copy()
    changed[radius + 4, radius + 4] = 1 - frame[radius + 4, radius + 4]
    difference = np.abs(net.upscale(changed) - net.upscale(frame)).max(axis=(1, 2))
    rows = (difference > 1e-5).nonzero()[0] // scale  # OpenCV computes in blocks, whose rounding reaches farther
    farthest = np.abs(rows - (radius + 4)).max()
    assert radius // 2 <= farthest <= radius  # what comes from the rim of a deep network's reach is small


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_too_little_memory_is_a_memory_error():
    code = """
import resource
from pathlib import Path
import numpy as np
from vsr_pipeline.checkpoints.opencv_graph import load_opencv_net
_, net = load_opencv_net(Path("checkpoints/FSRCNN_x4.pb"))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
try:
    net.upscale(np.zeros((4000, 4000, 3), np.uint8))
except MemoryError as error:
    print(type(error.__cause__), error)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "cv2.error" in run.stdout
    assert "llocate" in run.stdout


def test_the_scale_is_the_graphs_and_never_the_file_names(tmp_path):
    source = (REPOSITORY / "checkpoints" / "FSRCNN_x3.pb").read_bytes()
    wrong = tmp_path / "FSRCNN_x4.pb"
    wrong.write_bytes(source)
    with pytest.raises(ModelError, match=r"FSRCNN_x4.pb cannot be used: its graph is fsrcnn-x3, its name says x4"):
        load_opencv_net(wrong)
    other = tmp_path / "mine.pb"
    other.write_bytes(source)
    assert load_opencv_net(other)[0].name == "fsrcnn-x3"


def test_only_the_attribute_is_renamed():
    for path in (REPOSITORY / "checkpoints").glob("*.pb"):
        graph = path.read_bytes()
        renamed = with_opencvs_names(graph)
        assert len(renamed) == len(graph) - 1
        assert renamed.replace(b"blocksize", b"block_size") != graph  # the lengths around it are others, too
        assert describe(parse_nodes(renamed)) == describe(parse_nodes(graph))
        assert with_opencvs_names(renamed) == renamed


def test_lengths_of_two_bytes_stay_right():
    """The messages around the attribute cross the length from which it takes two bytes."""
    for filling in range(90, 110):
        graph = node("d", "DepthToSpace", "x" * filling, block_size=field(3, 2))
        nodes = parse_nodes(with_opencvs_names(graph))
        assert (nodes[0].inputs, nodes[0].block_size) == (("x" * filling,), 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no nodes"),
        (b"\xff" * 30, "no TensorFlow graph"),
        (b"\x0a\xff\x01abc", "longer than its message"),
        (b"<!doctype html><html></html>", "no TensorFlow graph"),
        (node("NCHW_output", "Placeholder"), "no convolutions"),
        (node("a", "Conv2D", "b", "c"), "no constant kernel"),
        (node("a", "Sqrt", "b"), "takes nothing"),
        (node("x", "Placeholder") + node("a", "Sqrt", "x"), r"a \(Sqrt\) is not known"),
        (
            node("x", "Placeholder")
            + constant("f", np.zeros((3, 3, 1, 1), np.float32))
            + node("NCHW_output", "Conv2D", "x", "f"),
            "1 convolutions, the first from 1 to 1 channels",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "net.pb"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        load_opencv_net(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_damaged_files_are_refused_or_read(tmp_path):
    graph = (REPOSITORY / "checkpoints" / "FSRCNN-small_x2.pb").read_bytes()
    random = np.random.RandomState(0)
    path = tmp_path / "net.pb"
    for _ in range(150):
        damaged = bytearray(graph)
        damaged[random.randint(len(graph))] = random.randint(256)
        path.write_bytes(damaged[: random.randint(1, len(graph))] if random.rand() < 0.3 else damaged)
        with contextlib.suppress(ModelError):
            load_opencv_net(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere.pb: No such file"):
        load_opencv_net(tmp_path / "nowhere.pb")
