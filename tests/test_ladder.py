"""What happens when memory runs out or a network gives NaN: less at once, bands, the CPU; fp32; else an error.

No GPU is needed: `SmallDevice` makes real networks run out of memory as a small one would.
"""

import gc
import weakref

import pytest
import torch

from tests.support.small_device import SmallDevice, psnr, segment_of
from tests.test_graphs import InPlace
from tests.test_models import fill
from tests.test_upscale import CPU, frames_of, worst
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.build import BuiltUpscaler, build_upscaler
from vsr_pipeline.enhance.device import choose_precision
from vsr_pipeline.enhance.fallback import Ladder, allowed_bytes, rungs_of
from vsr_pipeline.enhance.memory import ClipSize
from vsr_pipeline.enhance.upscale import ExactUpscaler, Windows, prepare
from vsr_pipeline.errors import InputError, ModelError, ResourceError
from vsr_pipeline.models import BasicVSRNet, basicvsr
from vsr_pipeline.runtime.progress import SilentReporter
from vsr_pipeline.timeline import Segment, Shot

GPU = torch.device("cuda", 0)


class Notes(SilentReporter):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)


class Attempts:
    """Upscales a whole clip each time it is asked to, as a segment's encoder does."""

    def __init__(self, frames):
        self.frames = frames
        self.count = 0

    def __call__(self, upscaler):
        self.count += 1
        segment = segment_of(upscaler, self.frames)
        outputs = upscaler.upscale(iter(self.frames), segment, cleaning_passes=1, on_work=lambda _: None)
        return list(outputs)


def save(net, path):
    torch.save({"state_dict": {f"generator.{name}": value for name, value in net.state_dict().items()}}, path)
    return path


@pytest.fixture
def settings(tmp_path):
    checkpoint = save(fill(BasicVSRNet(8, 1), 0.7), tmp_path / "tiny.pth")
    return UpscaleConfig(checkpoint=checkpoint, max_seq_len=20, precision="fp32", device="cuda", convolutions="direct")


def small_gpu(limit):
    """Build as `build_upscaler` does; what is not meant for the CPU has `limit` bytes of memory."""

    def build(settings, band_rows=None):
        built = build_upscaler(settings.model_copy(update={"device": "cpu"}), band_rows)
        if settings.device == "cpu":
            return built
        return BuiltUpscaler(
            SmallDevice(built.upscaler, limit),
            built.description,
            built.identity,
            GPU,
            lambda: build(settings, band_rows),
        )

    return build


def ladder_on(limit, settings, **options):
    notes, build = Notes(), small_gpu(limit)
    return Ladder(settings, build(settings), notes, build=build, **options), notes.lines


def peak_of(settings, frames, band_rows=None):
    """Return the most bytes that a clip takes as configured."""
    device = SmallDevice(build_upscaler(settings.model_copy(update={"device": "cpu"}), band_rows).upscaler, None)
    Attempts(frames)(device)
    return device.peak


def segment(start=0, stop=300):
    return Segment(start, stop, start, stop, Shot(start, stop))


def plain(settings, frames):
    return Attempts(frames)(build_upscaler(settings.model_copy(update={"device": "cpu"})).upscaler)


def test_rungs_need_less_and_less(settings):
    thirty = settings.model_copy(update={"max_seq_len": 30})
    assert [r.description for r in rungs_of(thirty, GPU, allow_cpu=True)] == [
        "windows of 30",
        "windows of 15",
        "windows of 7",
        "bands of 512 rows",
        "bands of 256 rows",
        "bands of 128 rows",
        "bands of 64 rows",
        "the CPU",
    ]
    on_cpu = rungs_of(thirty, torch.device("cpu"), allow_cpu=True)
    assert [r.description for r in on_cpu][-1] == "bands of 64 rows"
    half = thirty.model_copy(update={"precision": "fp16"})
    assert rungs_of(half, GPU, allow_cpu=True)[-1].settings.precision == "auto"
    official = thirty.model_copy(update={"windows": "official"})
    assert [r.description for r in rungs_of(official, GPU, allow_cpu=True)] == ["windows of 30", "the CPU"]


def test_windows_shrink_until_they_fit_and_stay_short(settings):
    ten, five = (settings.model_copy(update={"max_seq_len": length}) for length in (10, 5))
    attempts = Attempts(frames_of(6))
    more, less = (peak_of(windows, attempts.frames) for windows in (ten, five))
    assert less < more
    ladder, lines = ladder_on(less, ten)
    outputs, notes = ladder.run(segment(), attempts)
    assert notes == ("segment 0-300: GPU memory ran out with windows of 10, went on with windows of 5",)
    assert lines == list(notes)
    assert attempts.count == 2
    # All of the future is in the lookahead: a shorter window gives the same pixels.
    assert worst(outputs, plain(settings, attempts.frames)) <= 1
    again = Attempts(frames_of(1))
    assert ladder.run(segment(300, 600), again)[1] == ()
    assert again.count == 1


def test_bands_when_the_shortest_windows_do_not_fit(settings, monkeypatch):
    # Of a net with so few channels, the reconstruction would be all of the memory.
    monkeypatch.setattr(basicvsr, "RECONSTRUCTION_ROWS", 4)
    frames = frames_of(2, 160, 64)
    in_bands = peak_of(settings, frames, band_rows=128)
    assert in_bands < peak_of(settings, frames)
    ladder, _ = ladder_on(in_bands, settings)
    attempts = Attempts(frames)
    outputs, notes = ladder.run(segment(), attempts)
    assert [note.rpartition("with ")[2] for note in notes] == [
        "windows of 10",
        "windows of 5",
        "bands of 512 rows",
        "bands of 256 rows",
        "bands of 128 rows",
    ]
    assert worst(outputs, plain(settings, frames)) <= 1


def test_the_cpu_only_where_it_is_allowed(settings):
    frames = frames_of(1)
    ladder, _ = ladder_on(1000, settings)
    with pytest.raises(ResourceError, match=r"300-600: GPU .* all of windows of 20, .* 64 rows: .*--allow-cpu"):
        ladder.run(segment(300, 600), Attempts(frames))
    ladder, _ = ladder_on(1000, settings, allow_cpu=True)
    outputs, notes = ladder.run(segment(), Attempts(frames))
    assert notes[-1].endswith("went on with the CPU")
    assert psnr(outputs, plain(settings, frames)) > 45


def test_a_decision_that_does_not_fit_steps_down_too(settings):
    ladder, _ = ladder_on(1000, settings, allow_cpu=True)
    given = []

    def decide(upscaler):
        given.append(upscaler)
        if len(given) == 1:
            Attempts(frames_of(1, 64, 64))(upscaler)
        return upscaler.cleaning_passes(frames_of(1, 64, 64))

    passes, notes = ladder.run(segment(), decide)
    assert (passes, len(notes), len(given)) == (0, 1, 2)


@pytest.mark.parametrize(("capability", "precision"), [((6, 1), "fp32"), ((7, 5), "fp16"), ((8, 0), "bf16")])
def test_auto_is_what_a_gpu_is_made_for(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precision("auto", GPU) == precision
    assert choose_precision("fp32", GPU) == "fp32"


def test_nan_in_half_precision_is_made_again_in_fp32():
    def build(settings, band_rows=None):
        net = fill(BasicVSRNet(8, 1), 0.7)
        # The same function in fp32; beyond the largest number of fp16, 65504, in between.
        for parameter in net.fusion.parameters():
            parameter.data *= 1e6
        net.upsample1.upsample_conv.weight.data *= 1e-6
        prepare(net, device=torch.device("cpu"), precision=settings.precision, band_rows=band_rows)
        upscaler = ExactUpscaler(net, device=torch.device("cpu"), windows=Windows(), refine_threshold=5.0)
        return BuiltUpscaler(upscaler, "overflows", {"precision": settings.precision}, GPU)

    settings, notes = UpscaleConfig(precision="fp16", device="cuda"), Notes()
    ladder = Ladder(settings, build(settings), notes, build=build)
    for start in (0, 300):  # fp32 is for one segment
        attempts = Attempts(frames_of(1))
        outputs, said = ladder.run(segment(start, start + 300), attempts)
        assert said == (f"segment {start}-{start + 300}: the network gave NaN or infinity, made again in fp32",)
        assert (attempts.count, len(outputs)) == (2, 1)
    full = settings.model_copy(update={"precision": "fp32"})
    assert worst(outputs, Attempts(frames_of(1))(build(full).upscaler)) == 0
    assert len(notes.lines) == 2


@pytest.mark.parametrize(("precision", "attempts_made"), [("bf16", 2), ("fp32", 1)])
def test_nan_that_persists_is_an_error(tmp_path, precision, attempts_made):
    net = fill(BasicVSRNet(8, 1), 0.7)
    net.conv_last.bias.data[0] = torch.nan
    settings = UpscaleConfig(checkpoint=save(net, tmp_path / "nan.pth"), precision=precision, device="cpu")
    attempts = Attempts(frames_of(1))
    with pytest.raises(ModelError, match=r"segment 0-300: .* NaN or infinity in fp32"):
        Ladder(settings, build_upscaler(settings), Notes()).run(segment(), attempts)
    assert attempts.count == attempts_made


def with_graphs(settings, net, record, limit):
    """Build an upscaler with graphs, on a device of so many bytes."""
    windows = Windows(max_seq_len=settings.max_seq_len)
    upscaler = ExactUpscaler(net, device=CPU, windows=windows, refine_threshold=5.0, record=record)
    return SmallDevice(upscaler, limit)


def test_what_failed_is_gone_with_its_graphs_before_the_next_is_built(settings):
    """Two upscalers at a time would not fit where memory has run out."""
    net, frames = fill(BasicVSRNet(8, 1), 0.7), frames_of(6)
    prepare(net, device=CPU, precision="fp32")
    alive, lengths = [], []

    def record(function):
        output, replay = InPlace()(function)
        alive.append(weakref.ref(replay))
        return output, replay

    def build(settings, band_rows=None):
        gc.collect()
        lengths.append((settings.max_seq_len, [part() is not None for part in alive]))
        upscaler = with_graphs(settings, net, record, None if settings.max_seq_len == 5 else limit)
        alive.append(weakref.ref(upscaler))
        return BuiltUpscaler(upscaler, "net", {"precision": "fp32"}, GPU, lambda: build(settings, band_rows))

    limit = 0.9 * peak_of(settings.model_copy(update={"max_seq_len": 10}), frames)
    built = build(settings)
    ladder = Ladder(settings, built, Notes(), build=build)
    assert len(ladder.run(segment(), Attempts(frames))[1]) == 2
    assert len(alive) > 3 + 3  # three upscalers, and graphs of the first
    assert [length for length, _ in lengths] == [20, 10, 5]
    assert not any(is_alive for _, others in lengths for is_alive in others)
    # A clip that follows begins with what was configured: it may be smaller.
    assert built.upscaler.plan is not None
    assert lengths[-1][0] == 20


def test_what_cannot_be_recorded_is_a_note_of_the_segment(settings):
    def refuse(function):
        function()
        raise RuntimeError("operation not permitted")

    def build(settings, band_rows=None):
        said = []
        upscaler = ExactUpscaler(
            net, device=CPU, windows=Windows(), refine_threshold=5.0, record=refuse, on_note=said.append
        )
        return BuiltUpscaler(upscaler, "net", {"precision": "fp32"}, GPU, notes=said)

    net, notes = fill(BasicVSRNet(8, 1), 0.7), Notes()
    prepare(net, device=CPU, precision="fp32")
    _, said = Ladder(settings, build(settings), notes, build=build).run(segment(), Attempts(frames_of(3)))
    assert (
        list(said)
        == notes.lines
        == ["CUDA graphs cannot be recorded here, computed without them: operation not permitted"]
    )


class Allocator:
    """The memory of a GPU as PyTorch tells it: in use, kept for reuse, and kept by graphs, of `total` bytes."""

    def __init__(self, monkeypatch, total, *, used, cached, graphs):
        self.total, self.used, self.cached, self.graphs = total, used, cached, graphs
        for name in ("mem_get_info", "memory_reserved", "memory_allocated", "empty_cache"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def memory_reserved(self, _=None):
        return self.used + self.cached + self.graphs

    def memory_allocated(self, _=None):
        return self.used

    def mem_get_info(self, _=None):
        return self.total - self.memory_reserved(), self.total

    def empty_cache(self):
        self.cached = 0


def test_memory_that_graphs_keep_is_not_free(monkeypatch):
    allocator = Allocator(monkeypatch, 8000, used=1000, cached=500, graphs=2500)
    assert allowed_bytes(UpscaleConfig(), GPU) == round(0.9 * (8000 - 2500))
    allocator.graphs = 0
    assert allowed_bytes(UpscaleConfig(), GPU) == round(0.9 * 8000)


def test_graphs_of_the_clip_before_make_room(settings, monkeypatch):
    """Before it is measured what is free, not when the first one is recorded again."""
    net, frames = fill(BasicVSRNet(8, 1), 0.7), frames_of(3)
    prepare(net, device=CPU, precision="fp32")
    kept = []

    def record(function):
        output, replay = InPlace()(function)
        kept.append(weakref.ref(replay))
        return output, replay

    upscaler = ExactUpscaler(net, device=CPU, windows=Windows(), refine_threshold=5.0, record=record)
    built = BuiltUpscaler(upscaler, "net", {"precision": "fp32"}, GPU)
    Ladder(settings, built, Notes()).run(segment(), Attempts(frames))
    assert len(kept) == 3
    seen = []

    def mem_get_info(_):
        gc.collect()
        seen.extend(graph() for graph in kept)
        return 10**12, 10**12

    Allocator(monkeypatch, 10**12, used=0, cached=0, graphs=0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    Ladder(settings, built, Notes()).fit(ClipSize(64, 64, 3))
    assert seen == [None] * 3


def test_weights_that_changed_meanwhile_are_refused(settings):
    ladder, _ = ladder_on(1000, settings)
    save(fill(BasicVSRNet(8, 1), 0.5), settings.checkpoint)
    with pytest.raises(ModelError, match=r"weights .* have changed"):
        ladder.run(segment(), Attempts(frames_of(1)))


def test_other_failures_are_not_tried_again(settings):
    ladder, lines = ladder_on(None, settings)
    attempts = Attempts(frames_of(2))

    def short(upscaler):
        attempts.count += 1
        return list(upscaler.upscale(iter([]), segment(), cleaning_passes=1, on_work=lambda _: None))

    with pytest.raises(InputError):
        ladder.run(segment(), short)
    assert (attempts.count, lines) == (1, [])


def test_bicubic_passes_through():
    settings = UpscaleConfig(model="bicubic-x4")
    built = build_upscaler(settings)
    given, notes = Ladder(settings, built, Notes(), allow_cpu=True).run(segment(), lambda upscaler: upscaler)
    assert given is built.upscaler
    assert notes == ()
