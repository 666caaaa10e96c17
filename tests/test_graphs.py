"""Steps that are recorded once per size of frames and replayed.

Without a GPU, `in_place` stands for a CUDA graph: each replay reads the same memory, and overwrites what the last gave.
"""

import gc
import weakref

import pytest
import torch

from tests.support.graphs import InPlace
from tests.support.networks import fill
from tests.support.upscaling import CPU, GPU, Model, frames_of, run, worst
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance import cuda_graphs as graphs
from vsr_pipeline.enhance.realbasicvsr import records_graphs
from vsr_pipeline.enhance.realbasicvsr_network import prepare
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import Windows
from vsr_pipeline.enhance.spec import Context
from vsr_pipeline.errors import OutOfMemoryError
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

WINDOWS = Windows(max_seq_len=2, lookahead=1, warm_up=1, segment_frames=4)


@pytest.fixture(scope="module")
def net():
    tiny = fill(RealBasicVSRNet(8, 1, 1), 0.7)
    prepare(tiny, device=CPU, precision="fp32")
    return tiny


def upscaler(net, record=None, **options):
    cut = SegmentUpscaler(net, device=CPU, windows=WINDOWS, refine_threshold=5.0, record=record, **options)
    return Model(cut, Context(segment_frames=4, warm_up=1, lookahead=1))


def test_clips_of_changing_sizes_come_out_the_same(net):
    plain, graphed = upscaler(net), upscaler(net, record=InPlace())
    for height, width in ((64, 64), (70, 96), (64, 64)):
        frames = frames_of(6, height, width)
        assert worst(run(plain, frames)[0], run(graphed, frames)[0]) == 0


def test_steps_are_recorded_once_for_a_size(net):
    record = InPlace()
    graphed = upscaler(net, record=record)
    run(graphed, frames_of(6))
    assert record.recorded == 3  # backward, forward, reconstruction
    assert record.replayed > 10
    run(graphed, frames_of(5, seed=1))
    assert record.recorded == 3
    run(graphed, frames_of(3, 70, 96))
    assert record.recorded == 6


def test_large_frames_are_not_recorded(net, monkeypatch):
    monkeypatch.setattr(graphs, "GRAPH_PIXELS", 64 * 64)
    record = InPlace()
    assert len(run(upscaler(net, record=record), frames_of(3, 64, 70))[0]) == 3
    assert record.recorded == 0


def test_larger_frames_take_the_memory_of_the_graphs(net, monkeypatch):
    made = []

    def record(function):
        output, replay = InPlace()(function)
        made.append(weakref.ref(replay))
        return output, replay

    graphed = upscaler(net, record=record)
    run(graphed, frames_of(3, 64, 64))
    assert [graph() is not None for graph in made] == [True] * 3
    monkeypatch.setattr(graphs, "GRAPH_PIXELS", 64 * 64)
    run(graphed, frames_of(3, 64, 70))
    gc.collect()
    assert [graph() is not None for graph in made] == [False] * 3


def test_where_nothing_can_be_recorded_it_is_said_once_and_computed(net):
    def refuse(function):
        function()
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

    frames = frames_of(3)
    graphed = upscaler(net, record=refuse)
    outputs, _ = run(graphed, frames)
    said = graphed.upscaler.take_notes()
    assert len(said) == 1  # by each step
    assert set(said) == {
        "CUDA graphs cannot be recorded here, computed without them: operation not permitted when stream is capturing"
    }
    again, _ = run(graphed, frames)
    assert graphed.upscaler.take_notes() == ()
    expected, _ = run(upscaler(net), frames)
    assert worst(outputs, expected) == worst(again, expected) == 0


def test_memory_that_runs_out_while_recording_is_no_reason_to_go_on(net):
    def run_out(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError):
        run(upscaler(net, record=run_out), frames_of(3))


def test_graphs_are_for_gpus_where_they_are_wanted_and_memory_is_not_scarce():
    assert records_graphs(UpscaleConfig(), GPU, None)
    assert not records_graphs(UpscaleConfig(), CPU, None)
    assert not records_graphs(UpscaleConfig(), GPU, 512)
    assert not records_graphs(UpscaleConfig(cuda_graphs=False), GPU, None)
