"""The Python API: `import vsr_pipeline as vsr`."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

import vsr_pipeline as vsr
from tests.support.clips import make_video, times
from tests.support.networks import fill, save
from vsr_pipeline import cli, library
from vsr_pipeline.enhance.spec import Context
from vsr_pipeline.errors import ConfigError, ModelError, OutOfMemoryError, UsageError
from vsr_pipeline.media.images import read_image
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.runtime.progress import Advanced, Noted

ROOT = Path(__file__).parent.parent


def moving(number, height=24, width=32):
    """Frames that differ."""
    y, x = np.mgrid[:height, :width]
    return [np.stack([(7 * x + 11 * k) % 256, (5 * y + 9 * k) % 256, (x + y + k) % 256], -1).astype(np.uint8)
            for k in range(number)]  # fmt: skip


@pytest.fixture
def recurrent(tmp_path):
    """A small network, and settings that cut a clip often."""
    checkpoint = save(
        fill(RealBasicVSRNet(mid_channels=8, num_propagation_blocks=1, num_cleaning_blocks=1), 0.05),
        tmp_path / "tiny.pth",
    )
    config = tmp_path / "settings.toml"
    config.write_text(
        '[upscale]\nsegment_frames = 5\nmax_seq_len = 5\nwarm_up = 2\nlookahead = 3\nprecision = "fp32"\n'
    )
    return {"checkpoint": checkpoint, "config": config}


def test_five_names_and_nothing_heavy_before_one_is_used():
    assert vsr.__all__ == ["ClipOutcome", "Model", "VsrError", "open_model", "run"]
    assert set(vsr.__all__) <= set(dir(vsr))
    assert all(getattr(vsr, name).__doc__ for name in vsr.__all__)
    with pytest.raises(AttributeError, match="upscale"):
        _ = vsr.upscale
    heavy = ("torch", "av", "numpy")
    code = f"import sys, vsr_pipeline as vsr; vsr.VsrError; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert (Path(vsr.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_give_arrays_one_for_one(dtype):
    frames = [frame.astype(dtype) for frame in moving(6)]
    larger = list(vsr.open_model("fsrcnn-small-x2").enhance(frames))
    assert [frame.shape for frame in larger] == [(48, 64, 3)] * 6
    assert {frame.dtype for frame in larger} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tensors_give_tensors_with_the_same_picture(dtype):
    model = vsr.open_model("bicubic", scale=2)
    arrays = moving(3)
    tensors = [torch.from_numpy(frame).permute(2, 0, 1).to(dtype) / 255 for frame in arrays]
    from_arrays, from_tensors = list(model.enhance(arrays)), list(model.enhance(tensors))
    assert [frame.dtype for frame in from_tensors] == [dtype] * 3
    for array, tensor in zip(from_arrays, from_tensors, strict=True):
        assert tensor.shape == (3, 48, 64)
        assert np.abs(tensor.float().permute(1, 2, 0).numpy() * 255 - array).max() < 1.1


def test_no_frames_give_none_and_an_endless_source_is_read_as_it_is_needed():
    model = vsr.open_model("espcn-x2")
    assert list(model.enhance([])) == []
    frame = moving(1)[0]
    read = []
    endless = (frame for k in count() if not read.append(k))
    assert len(list(islice(model.enhance(endless), 5))) == 5
    assert len(read) <= 9


def test_of_one_shot_the_pixels_are_those_of_vsr_run(workspace, recurrent):
    source = make_video(workspace / "a.mkv", frames=4, cut=30, width=32, height=24)
    words = ["--checkpoint", str(recurrent["checkpoint"]), "--config", str(recurrent["config"])]
    assert cli.run(["run", str(source), "--output", "frames/", *words]) == 0
    with VideoReader(source) as reader:
        frames = [frame.pixels for frame in reader]
    larger = list(vsr.open_model(**recurrent).enhance(frames))
    assert len(larger) == 4
    for index, pixels in enumerate(larger):
        assert np.array_equal(pixels, read_image(workspace / "frames" / f"{index:08d}.png"))


def test_a_long_shot_has_no_visible_joins_between_its_parts(tmp_path, recurrent):
    frames = moving(11)
    larger = list(vsr.open_model(**recurrent).enhance(iter(frames)))
    whole = tmp_path / "whole.toml"
    whole.write_text(recurrent["config"].read_text().replace("segment_frames = 5", "segment_frames = 100"))
    at_once = list(vsr.open_model(checkpoint=recurrent["checkpoint"], config=whole).enhance(frames))
    worst = max(np.abs(a.astype(int) - b).max() for a, b in zip(larger, at_once, strict=True))
    assert worst <= 1


@pytest.mark.parametrize(("frames", "context"), [
    (1, Context(segment_frames=4, warm_up=2, lookahead=2)), (4, Context(segment_frames=4, warm_up=2, lookahead=2)),
    (5, Context(segment_frames=4, warm_up=2, lookahead=2)), (17, Context(segment_frames=4, warm_up=7, lookahead=1)),
    (9, Context(segment_frames=300)),
])  # fmt: skip
def test_every_frame_is_in_one_part_and_parts_see_their_surroundings(frames, context):
    numbers = np.arange(frames)
    seen = []
    for held, segment in library.parts_of(iter(numbers), context):
        mine = held[segment.start : segment.stop]
        first, last = mine[0], mine[-1]
        assert list(held[segment.context_start : segment.start]) == list(range(max(0, first - context.warm_up), first))
        after = list(range(last + 1, min(frames, last + 1 + context.lookahead)))
        assert list(held[segment.stop : segment.context_stop]) == after
        seen += mine
    assert seen == list(numbers)


def test_after_memory_ran_out_the_stream_goes_on_where_it_was():
    notes = []
    model = vsr.open_model("bicubic", on_event=lambda event: notes.append(event) if isinstance(event, Noted) else None)
    expected = list(model.enhance(moving(4)))

    class RunsOut:
        def __init__(self, upscaler):
            self._upscaler = upscaler

        def upscale(self, frames, segment, decision, *, geometry, on_work):
            yield from islice(self._upscaler.upscale(frames, segment, decision, geometry=geometry, on_work=on_work), 2)
            raise OutOfMemoryError("no more")

        def __getattr__(self, name):
            return getattr(self._upscaler, name)

    whole = model._spec.variants[0]
    small = replace(whole, description="all", build=lambda: RunsOut(whole.build()))
    spec = replace(model._spec, variants=(small, replace(whole, description="less")))
    again = vsr.Model(spec, model._settings, model._reporter)
    assert all(np.array_equal(a, b) for a, b in zip(again.enhance(moving(4)), expected, strict=True))
    assert [note.message for note in notes] == ["segment 0-4: memory ran out with all, went on with less"]


@pytest.mark.parametrize(("frames", "said"), [
    ([np.zeros((24, 32), np.uint8)], "frame 0 is an array (24, 32) of uint8: give uint8 or uint16 arrays (H, W, 3)"),
    ([np.zeros((24, 32, 3))], "frame 0 is an array (24, 32, 3) of float64: give"),
    ([torch.zeros(24, 32, 3)], "frame 0 is a tensor (24, 32, 3) of float32: give"),
    ([torch.zeros(3, 24, 32, dtype=torch.uint8)], "frame 0 is a tensor (3, 24, 32) of uint8: give"),
    (["a.png"], "frame 0 is a str: give"),
    ([*moving(2), moving(1, 26)[0]], "frame 2 is an array (26, 32, 3) of uint8, the first one an array (24, 32, 3)"),
])  # fmt: skip
def test_other_frames_are_refused_with_what_is_allowed(frames, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        list(vsr.open_model("nearest").enhance(frames))


def test_faces_are_not_followed_in_frames_that_come_one_by_one(tmp_path):
    (tmp_path / "faces.toml").write_text('[upscale]\nmodel = "bicubic"\nfaces = "detect"\n')
    with pytest.raises(vsr.VsrError, match="faces is for run"):
        vsr.open_model(config=tmp_path / "faces.toml")


def test_settings_are_checked_as_those_of_the_command_line():
    with pytest.raises(ModelError, match="no-such-model"):
        vsr.open_model("no-such-model")
    with pytest.raises(ConfigError, match="strength"):
        vsr.open_model("bicubic", strength=2)
    assert issubclass(ModelError, vsr.VsrError)


def test_run_makes_the_video_says_what_became_of_it_and_continues(workspace):
    source = make_video(workspace / "a.mp4", frames=3, cut=9)
    events = []
    outcome = vsr.run(source, model="fsrcnn-small-x2", on_event=events.append)
    assert (outcome.status, outcome.output, outcome.frame_count) == ("done", workspace / "a_x2.mp4", 3)
    assert times(outcome.output) == times(source)
    assert any(isinstance(event, Advanced) for event in events)
    assert vsr.run(str(source), str(outcome.output), model="fsrcnn-small-x2").status == "unchanged"
    with pytest.raises(UsageError, match="is for images"):
        vsr.run(source, "frames/", model="fsrcnn-small-x2")


def test_the_example_of_the_documentation_runs(workspace, monkeypatch):
    """As it stands on the page, on a video of three frames and with a quick model."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    make_video(workspace / "holiday.mp4", frames=3, cut=9, width=32, height=24)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        exec(block.replace("realbasicvsr-open-x4", "fsrcnn-x4"), names)
    assert (workspace / "holiday_x4.mp4").is_file()
