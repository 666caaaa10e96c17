"""Faults that only a GPU shows, held by what plays a GPU here: refused operations, errors that stay, late memory."""

import numpy as np
import pytest
import torch

from tests.support.networks import fill
from tests.support.small_device import OnlyGpuOperations
from tests.support.upscaling import CPU, GPU, exact, frames_of, run, segment, worst
from vsr_pipeline.clip.geometry import Sizing
from vsr_pipeline.enhance.cuda_graphs import GraphedStep
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.spec import Context, ModelSpec, Variant
from vsr_pipeline.enhance.transfer import to_pixels, to_tensor
from vsr_pipeline.errors import BrokenDeviceError
from vsr_pipeline.models.basicvsr import BasicVSRNet


def on_gpu(build=lambda: None):
    variant = Variant(description="windows of 30", device=GPU, memory_bytes=lambda _: 0, build=build)
    context = Context(segment_frames=300)
    return ModelSpec(
        name="tiny", sizing=Sizing(scale=4), description="tiny", identity={}, context=context, variants=(variant,)
    )


def test_all_values_of_16_bits_cross_and_return_without_unsigned_operations():
    every_value = np.arange(65536, dtype=np.uint16).reshape(128, 512, 1).repeat(3, 2)
    with OnlyGpuOperations():
        frame = to_tensor(every_value, CPU)
        assert np.array_equal(to_pixels(frame, every_value.dtype), every_value)
    assert (frame.min(), frame.max()) == (0, 1)
    assert frame.diff(dim=3).min() > 0


def test_networks_and_16_bits_need_no_unsigned_operations():
    model = exact(fill(BasicVSRNet(8, 1), 0.7))
    deep = [pixels.astype(np.uint16) * 257 for pixels in frames_of(3)]
    expected = run(model, deep)[0]
    with OnlyGpuOperations():
        outputs = run(model, deep)[0]
    assert outputs[0].dtype == np.uint16
    assert worst(outputs, expected) == 0


def test_memory_that_runs_out_in_a_recording_is_seen_behind_the_error_that_ends_it():
    """What ends a recording raises an error of its own, in the place of the one that is looked for."""

    def record(_):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    notes = []
    step = GraphedStep(lambda x: x, record, notes.append)
    with pytest.raises(torch.OutOfMemoryError):
        step(torch.zeros(1, 1, 8, 8))
    assert notes == []


class Cuda:
    """PyTorch's counters of a GPU's memory, which cannot be reset before CUDA is set up."""

    def __init__(self, monkeypatch):
        self.is_set_up, self.cached, self.peak = False, 800, 1000
        for name in ("init", "empty_cache", "reset_peak_memory_stats", "max_memory_reserved"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def init(self):
        self.is_set_up = True

    def empty_cache(self):
        self.cached = 0

    def reset_peak_memory_stats(self, _):
        if not self.is_set_up:
            raise RuntimeError("Invalid device argument 0: did you call init?")
        self.peak = self.cached

    def max_memory_reserved(self, _):
        return self.peak


def test_peak_memory_is_what_is_taken_from_the_gpu_and_begins_at_nothing(monkeypatch):
    Cuda(monkeypatch)
    spec = on_gpu()
    assert spec.peak_gpu_memory_bytes() == 1000
    spec.reset_peak_gpu_memory()
    assert spec.peak_gpu_memory_bytes() == 0


def failing(_):
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`")


def test_an_error_that_stays_is_the_gpus(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    fallback = Fallback(on_gpu(lambda: Silent()))
    monkeypatch.setattr(torch, "ones", broken)
    with pytest.raises(
        BrokenDeviceError, match=r"^segment 0-300: the GPU no longer computes: .* access was enc"
    ) as got:
        fallback.run(segment(), failing)
    assert got.value.exit_code == 5
    assert "\n" not in str(got.value)


def test_a_bug_stays_a_bug_where_the_gpu_computes(monkeypatch):
    on_cpu = torch.ones((64, 64))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: on_cpu)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Fallback(on_gpu(lambda: Silent())).run(segment(), failing)


class Silent:
    """An upscaler with nothing to say."""

    def take_notes(self):
        return ()
