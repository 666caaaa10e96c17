"""What happens when memory runs out or a network gives NaN: less at once, bands, the CPU; fp32; else an error.

No GPU is needed: `SmallDevice` makes real networks run out of memory as a small one would.
"""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from tests.support.graphs import InPlace
from tests.support.listening import Listener
from tests.support.networks import fill, save
from tests.support.small_device import LiveBytes, SmallDevice, psnr
from tests.support.upscaling import CPU, GPU, exact, frames_of, segment, upscale_whole, worst
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.frames import enhance_frames
from vsr_pipeline.enhance.memory import allowed_bytes, out_of_memory_as_error
from vsr_pipeline.enhance.open_model import checkpoint_of, open_model
from vsr_pipeline.enhance.realbasicvsr import variants_of
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.spec import Context, ModelSpec, Variant
from vsr_pipeline.errors import InputError, ModelError, ResourceError
from vsr_pipeline.models import basicvsr
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.timeline import ClipSize


class Attempts:
    """Upscales a whole clip each time it is asked to, as a segment's encoder does."""

    def __init__(self, frames):
        self.frames = frames
        self.count = 0

    def __call__(self, upscaler):
        self.count += 1
        return upscale_whole(upscaler, self.frames)


class LimitedCuda:
    """A GPU whose allocator can be given a share of its memory; `allowed` is that in bytes."""

    def __init__(self, monkeypatch, total):
        self.total_memory = total
        self.fraction = 0.9  # somebody else's
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: self)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: self.fraction)
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", self._set)

    def _set(self, fraction, _):
        self.fraction = fraction

    @property
    def allowed(self):
        return round(self.fraction * self.total_memory)


@pytest.fixture(autouse=True)
def cuda(monkeypatch):
    return LimitedCuda(monkeypatch, 10**15)


@pytest.fixture
def settings(tmp_path):
    checkpoint = save(fill(BasicVSRNet(8, 1), 0.7), tmp_path / "tiny.pth")
    return UpscaleConfig(checkpoint=checkpoint, max_seq_len=20, precision="fp32", device="cuda", convolutions="direct")


def variants(settings, *, band_rows=None, allow_cpu=False):
    """The variants for a GPU; here, they run on the CPU."""
    checkpoint = checkpoint_of(settings)[1]
    on_gpu = variants_of(checkpoint, settings, GPU, settings.precision, allow_cpu=allow_cpu)
    on_cpu = variants_of(checkpoint, settings, CPU, settings.precision, allow_cpu=False)
    real = {variant.description: variant for variant in on_cpu}
    return [replace(real.get(variant.description, variant), device=variant.device) for variant in on_gpu]


def fallback_on(limit, settings, *, allow_cpu=False):
    """A GPU with so much memory; what is not meant for the CPU runs out of it."""

    def small(variant):
        if variant.device.type == "cpu":
            return variant
        return replace(variant, build=lambda: SmallDevice(variant.build(), limit))

    spec = ModelSpec(
        name="tiny",
        sizing=Sizing(scale=4),
        description="tiny",
        identity={"precision": settings.precision},
        context=Context(segment_frames=300),
        variants=tuple(small(variant) for variant in variants(settings, allow_cpu=allow_cpu)),
    )
    notes = Listener()
    fallback = Fallback(spec, limit_bytes=10**15, allow_cpu=allow_cpu)
    fallback.begin(ClipSize(64, 64, 1), notes)
    return fallback, notes.notes


def peak_of(settings, frames, way=0):
    """Return the most bytes that a clip takes with one of the variants."""
    device = SmallDevice(variants(settings)[way].build(), None)
    upscale_whole(device, frames)
    return device.peak


def plain(settings, frames):
    return upscale_whole(variants(settings)[0].build(), frames)


def descriptions(settings, device, precision="fp32"):
    given = variants_of(checkpoint_of(settings)[1], settings, device, precision, allow_cpu=True)
    return [variant.description for variant in given]


def test_variants_need_less_and_less(settings):
    thirty = settings.model_copy(update={"max_seq_len": 30})
    assert descriptions(thirty, GPU) == [
        "windows of 30",
        "windows of 15",
        "windows of 7",
        "bands of 512 rows",
        "bands of 256 rows",
        "bands of 128 rows",
        "bands of 64 rows",
        "the CPU",
    ]
    assert descriptions(thirty, CPU)[-1] == "bands of 64 rows"
    official = thirty.model_copy(update={"windows": "official"})
    assert descriptions(official, GPU) == ["windows of 30", "the CPU"]
    half = thirty.model_copy(update={"precision": "fp16"})
    last = variants_of(checkpoint_of(half)[1], half, GPU, "fp16", allow_cpu=True)[-1]
    assert worst(upscale_whole(last.build(), frames_of(1)), plain(settings, frames_of(1))) <= 8


def test_windows_shrink_until_they_fit_and_stay_short(settings):
    ten, five = (settings.model_copy(update={"max_seq_len": length}) for length in (10, 5))
    attempts = Attempts(frames_of(6))
    more, less = (peak_of(windows, attempts.frames) for windows in (ten, five))
    assert less < more
    fallback, lines = fallback_on(less, ten)
    outputs, notes = fallback.run(segment(), attempts)
    assert notes == ("segment 0-300: GPU memory ran out with windows of 10, went on with windows of 5",)
    assert lines == list(notes)
    assert attempts.count == 2
    # All of the future is in the lookahead: a shorter window gives the same pixels.
    assert worst(outputs, plain(settings, attempts.frames)) <= 1
    again = Attempts(frames_of(1))
    assert fallback.run(segment(300, 600), again)[1] == ()
    assert again.count == 1


def test_bands_when_the_shortest_windows_do_not_fit(settings, monkeypatch):
    # Of a net with so few channels, the reconstruction would be all of the memory.
    monkeypatch.setattr(basicvsr, "RECONSTRUCTION_ROWS", 4)
    frames = frames_of(2, 160, 64)
    in_bands = peak_of(settings, frames, way=5)
    assert in_bands < peak_of(settings, frames)
    fallback, _ = fallback_on(in_bands, settings)
    attempts = Attempts(frames)
    outputs, notes = fallback.run(segment(), attempts)
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
    fallback, _ = fallback_on(1000, settings)
    with pytest.raises(ResourceError, match=r"300-600: GPU .* all of windows of 20, .* 64 rows: .*--allow-cpu"):
        fallback.run(segment(300, 600), Attempts(frames))
    fallback, _ = fallback_on(1000, settings, allow_cpu=True)
    outputs, notes = fallback.run(segment(), Attempts(frames))
    assert notes[-1].endswith("went on with the CPU")
    assert psnr(outputs, plain(settings, frames)) > 45


def test_a_decision_that_does_not_fit_steps_down_too(settings):
    fallback, _ = fallback_on(1000, settings, allow_cpu=True)
    given = []

    def decide(upscaler):
        given.append(type(upscaler))
        if len(given) == 1:
            upscale_whole(upscaler, frames_of(1, 64, 64))
        return upscaler.decide(frames_of(1, 64, 64))

    decision, notes = fallback.run(segment(), decide)
    assert (decision.description, len(notes), len(given)) == ("", 1, 2)


def test_what_failed_is_gone_before_the_next_variant_is_built(settings):
    """CUDA graphs keep memory pools of their own as long as the upscaler that recorded them lives."""
    alive, built = [], []

    def record(function):
        output, replay = InPlace()(function)
        alive.append(weakref.ref(replay))
        return output, replay

    def kept(variant):
        def build():
            gc.collect()
            assert not any(reference() for reference in alive)
            upscaler = SmallDevice(with_graphs(record), limit)
            built.append(variant.description)
            alive.append(weakref.ref(upscaler))
            return upscaler

        return replace(variant, build=build)

    frames = frames_of(6)
    whole = SmallDevice(with_graphs(record), None)
    upscale_whole(whole, frames)
    limit = 0.9 * whole.peak
    del whole
    spec = replace(_bare_spec(), variants=tuple(kept(variant) for variant in variants(settings)))
    with pytest.raises(ResourceError):
        Fallback(spec, limit_bytes=1).run(segment(), Attempts(frames))
    assert built == [variant.description for variant in spec.variants]
    assert len(alive) > len(built) + 3  # graphs, too


def _bare_spec():
    context = Context(segment_frames=300)
    return ModelSpec(name="tiny", sizing=Sizing(scale=4), description="tiny", identity={}, context=context, variants=())


def test_nan_in_half_precision_is_made_again_in_fp32():
    def build(precision):
        net = fill(BasicVSRNet(8, 1), 0.7)
        # The same function in fp32; beyond the largest number of fp16, 65504, in between.
        for parameter in net.fusion.parameters():
            parameter.data *= 1e6
        net.upsample1.upsample_conv.weight.data *= 1e-6
        return exact(net, precision=precision).upscaler

    variant = Variant(
        description="windows of 30",
        device=GPU,
        memory_bytes=lambda _: 0,
        build=lambda: build("fp16"),
        build_in_fp32=lambda: build("fp32"),
    )
    fallback, notes = Fallback(replace(_bare_spec(), variants=(variant,)), limit_bytes=1), Listener()
    fallback.begin(ClipSize(64, 64, 1), notes)
    for start in (0, 300):  # fp32 is for one segment
        attempts = Attempts(frames_of(1))
        outputs, said = fallback.run(segment(start, start + 300), attempts)
        assert said == (f"segment {start}-{start + 300}: the network gave NaN or infinity, made again in fp32",)
        assert (attempts.count, len(outputs)) == (2, 1)
    assert worst(outputs, upscale_whole(build("fp32"), frames_of(1))) == 0
    assert len(notes.notes) == 2


@pytest.mark.parametrize(("precision", "attempts_made"), [("bf16", 2), ("fp32", 1)])
def test_nan_that_persists_is_an_error(tmp_path, precision, attempts_made):
    net = fill(BasicVSRNet(8, 1), 0.7)
    net.conv_last.bias.data[0] = torch.nan
    settings = UpscaleConfig(checkpoint=save(net, tmp_path / "nan.pth"), precision=precision, device="cpu")
    attempts = Attempts(frames_of(1))
    with pytest.raises(ModelError, match=r"segment 0-300: .* NaN or infinity in fp32"):
        Fallback(open_model(settings)).run(segment(), attempts)
    assert attempts.count == attempts_made


def with_graphs(record):
    net = fill(BasicVSRNet(8, 1), 0.7)
    return exact(net, record=record).upscaler


def a_variant(build):
    return Variant(description="windows of 30", device=GPU, memory_bytes=lambda _: 0, build=build)


def test_what_cannot_be_recorded_is_a_note_of_the_segment():
    def refuse(function):
        function()
        raise RuntimeError("operation not permitted")

    fallback = Fallback(replace(_bare_spec(), variants=(a_variant(lambda: with_graphs(refuse)),)), limit_bytes=1)
    notes = Listener()
    fallback.begin(ClipSize(64, 64, 1), notes)
    _, said = fallback.run(segment(), Attempts(frames_of(3)))
    expected = "CUDA graphs cannot be recorded here, computed without them: operation not permitted"
    assert list(said) == notes.notes == [expected]


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


class Takes:
    """An upscaler that takes so many bytes."""

    def __init__(self, count):
        self.count = count

    def take_notes(self):
        return ()


def test_a_gpu_takes_no_more_than_its_limit(cuda):
    """Also where a variant needs more than was planned."""
    cuda.total_memory = 10_000

    def attempt(upscaler):
        with out_of_memory_as_error(), LiveBytes(cuda.allowed):
            return torch.zeros(upscaler.count, dtype=torch.uint8).numel()

    variants = (a_variant(lambda: Takes(2000)), a_variant(lambda: Takes(900)))
    fallback = Fallback(replace(_bare_spec(), variants=variants), limit_bytes=1000)
    assert fallback.run(segment(), attempt)[0] == 900
    assert cuda.fraction == 0.9
    with pytest.raises(ResourceError, match=r"allow more \(--memory-limit\)"):
        Fallback(replace(_bare_spec(), variants=variants[:1]), limit_bytes=1000).run(segment(), attempt)
    assert cuda.fraction == 0.9
    assert Fallback(replace(_bare_spec(), variants=variants)).run(segment(), attempt)[0] == 2000


def test_memory_that_graphs_keep_is_not_free(monkeypatch):
    allocator = Allocator(monkeypatch, 8000, used=1000, cached=500, graphs=2500)
    assert allowed_bytes(None, GPU) == round(0.9 * (8000 - 2500))
    allocator.graphs = 0
    assert allowed_bytes(None, GPU) == round(0.9 * 8000)


def test_graphs_of_the_clip_before_make_room(monkeypatch):
    """Before it is measured what is free, not when the first one is recorded again."""
    kept = []

    def record(function):
        output, replay = InPlace()(function)
        kept.append(weakref.ref(replay))
        return output, replay

    fallback = Fallback(replace(_bare_spec(), variants=(a_variant(lambda: with_graphs(record)),)))
    fallback.run(segment(), Attempts(frames_of(3)))
    assert len(kept) == 3
    seen = []

    def mem_get_info(_):
        gc.collect()
        seen.extend(graph() for graph in kept)
        return 10**12, 10**12

    Allocator(monkeypatch, 10**12, used=0, cached=0, graphs=0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    fallback.begin(ClipSize(64, 64, 3), Listener())
    assert seen == [None] * 3


def test_other_failures_are_not_tried_again(settings):
    fallback, lines = fallback_on(None, settings)
    count = 0

    def short(upscaler):
        nonlocal count
        count += 1
        return list(
            enhance_frames(
                upscaler,
                iter([]),
                segment(),
                cleaned(1),
                geometry=Geometry.enlarged((64, 64), 4),
                on_work=lambda _: None,
            )
        )

    with pytest.raises(InputError):
        fallback.run(segment(), short)
    assert (count, lines) == (1, [])


def test_bicubic_passes_through():
    spec = open_model(UpscaleConfig(model="bicubic-x4"))
    outputs, notes = Fallback(spec).run(segment(), Attempts(frames_of(2, 8, 8)))
    assert [output.shape for output in outputs] == [(32, 32, 3)] * 2
    assert notes == ()
