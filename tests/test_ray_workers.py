"""Ray workers that cannot start, die or break: none is waited for in vain, and no clip is to blame for a machine.

`Machines` stands for a Ray cluster: its workers are objects of this process, so what happens to them can be chosen.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'vsr-pipeline[ray]'")

from tests.support.listening import Listener
from vsr_pipeline import __version__, api
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import computes
from vsr_pipeline.errors import DiskFullError, InputError, ModelError, PrecisionError, ResourceError, VsrError
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.segment import SegmentResult
from vsr_pipeline.jobs.workers import cluster_executor, cluster_worker, worker
from vsr_pipeline.jobs.workers.cluster_executor import ClusterWorkers
from vsr_pipeline.jobs.workers.ray_cluster import WorkerDied
from vsr_pipeline.jobs.workers.spec import Node, Ready, spec_of
from vsr_pipeline.jobs.workers.task_queue import Progress
from vsr_pipeline.jobs.workers.worker import Failure, SegmentWorker
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.timeline import Segment, Shot

IDENTITY = {"model": "bicubic-x4", "segment_frames": 300}


class Machine:
    """What its workers do, each with a process of its own; the functions may raise or return anything."""

    def __init__(self, name, *, start=None, prepare=None, compute=None):
        self.node = Node(name * 2, name, 1)
        self.started = 0
        self.computed = []
        self.asked = []
        self._start = start or (lambda: None)
        self._prepare = prepare or (lambda: IDENTITY)
        self._compute = compute or (lambda task: result_of(task))

    def start(self):
        self.started += 1
        self._start()
        return Process(self)

    def about(self):
        return __version__, self.node.name, 1

    def prepare(self, spec):
        self.asked.append((spec.settings.precision, spec.settings.convolutions))
        answer = self._prepare()
        return answer if isinstance(answer, Failure) else Ready("cpu", "bicubic-x4", answer)

    def compute(self, task, _source):
        self.computed.append(task.segment.start)
        return self._compute(task)

    def progress(self):
        return Progress(0.0)


class Process:
    def __init__(self, machine):
        self._machine = machine
        self._threads = ThreadPoolExecutor(2)

    def begin(self, method, *arguments):
        return self._threads.submit(getattr(self._machine, method), *arguments)

    def result(self, call, seconds):
        try:
            return call.result(seconds)
        except NotYet:
            raise TimeoutError from None

    def kill(self):
        self._threads.shutdown(wait=False)


class Machines:
    """As `RayCluster`."""

    def __init__(self, *machines):
        self.machines = list(machines)

    def has_gpu(self):
        return False

    def nodes(self, **_):
        return tuple(machine.node for machine in self.machines)

    def start(self, node, **_):
        return next(machine for machine in self.machines if machine.node == node).start()


def result_of(task):
    return SegmentResult(task.segment, Path(), 0, "", 0, 0.0, ())


def raising(error):
    def act(*_):
        raise error

    return act


def returning(value):
    return lambda *_: value


class Times:
    """Does one thing so many times, then another."""

    def __init__(self, count, first, then):
        self._left, self._first, self._then = count, first, then

    def __call__(self, *arguments):
        self._left -= 1
        return (self._first if self._left >= 0 else self._then)(*arguments)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What takes minutes of a cluster takes parts of a second here."""
    for name in ("POLL_SECONDS", "_ANSWER_SECONDS"):
        monkeypatch.setattr(cluster_worker, name, 0.05)
    for name in ("POLL_SECONDS", "_NODES_POLL_SECONDS", "_OTHERS_SECONDS"):
        monkeypatch.setattr(cluster_executor, name, 0.05)
    for name in ("_START_SECONDS", "_PREPARE_SECONDS"):
        monkeypatch.setattr(cluster_worker, name, 0.4)
    monkeypatch.setattr(cluster_worker, "_CHOICE_SECONDS", 5.0)
    monkeypatch.setattr(cluster_executor, "_PATIENCE_SECONDS", 0.4)
    monkeypatch.setattr(cluster_worker, "with_absolute_paths", lambda task: task)


@pytest.fixture
def workers_of(tmp_path):
    made = []

    def make(*machines, retries=2):
        notes = Listener()
        settings = UpscaleConfig(model="bicubic-x4", device="cpu")
        options = api.WorkerOptions(executor="ray", cpus_per_worker=1)
        workers = ClusterWorkers(
            Machines(*machines), settings, options, tmp_path, allow_cpu=False, retries=retries, reporter=notes
        )
        made.append(workers)
        return workers, notes.notes

    yield make
    for workers in made:
        started = time.monotonic()
        workers.close()
        assert time.monotonic() - started < 10


def segments_made(workers, count=6, name="walk.mp4"):
    """Let the workers make a clip; returns the first frames of its segments."""
    executor = workers.executor(JobSource(Path(name), FileIdentity(0, 0)), Reporter())
    tasks = (SimpleNamespace(segment=Segment(n, n + 1, n, n + 1, Shot(0, count)), kept_frames=0) for n in range(count))
    results = []
    executor.run(tasks, results.append)
    return sorted(result.segment.start for result in results)


@pytest.mark.parametrize("where", ["start", "prepare"])
@pytest.mark.parametrize("error", [KeyError("resources"), MemoryError(), WorkerDied("killed"), DiskFullError("full")])
def test_whatever_goes_wrong_at_the_start_of_a_worker_is_an_error_where_no_other_starts(workers_of, where, error):
    workers, _ = workers_of(Machine("box", **{where: raising(error)}))
    with pytest.raises(ResourceError if isinstance(error, WorkerDied) else type(error)):
        workers.start()


def test_a_machine_that_never_answers_is_waited_for_no_longer_than_is_said(workers_of):
    workers, _ = workers_of(Machine("box", prepare=lambda: time.sleep(3)))
    with pytest.raises(ResourceError, match="box has started no worker"):
        workers.start()


def test_one_bad_machine_of_many_is_a_note(workers_of):
    """Each for another reason: a bug, no memory, other weights, another precision, a broken GPU."""
    bad = [
        Machine("a", start=raising(KeyError("resources"))),
        Machine("b", prepare=raising(WorkerDied("out of memory"))),
        Machine("c", prepare=returning(Failure("ModelError", "weights are missing (on c)"))),
        Machine("d", prepare=returning(IDENTITY | {"segment_frames": 7})),
        Machine("e", prepare=returning(Failure("ResourceError", "its GPU no longer computes (on e)"))),
    ]
    good = [Machine(name) for name in ("f", "g")]
    workers, notes = workers_of(*bad, *good)
    workers.start()
    assert segments_made(workers) == list(range(6))
    said = sorted(note for note in notes if note.startswith("1 worker less: "))
    assert [note.partition("less: ")[2] for note in said] == [
        "a bug: KeyError: 'resources'",
        "d has segment_frames 7, the others have 300: give it as an option, or leave that machine out",
        "its GPU no longer computes (on e)",
        "no worker could be started on b: out of memory",
        "weights are missing (on c)",
    ]
    assert [len(machine.computed) for machine in bad] == [0] * 5
    assert workers.spec.description == "bicubic-x4, 2 workers"
    assert not workers.are_lost()


def test_most_workers_say_how_is_computed_not_the_first(workers_of):
    """A precision, for instance, that one old GPU lacks."""
    odd = Machine("odd", prepare=returning(IDENTITY | {"precision": "fp16"}))
    others = [Machine(name, prepare=returning(IDENTITY | {"precision": "bf16"})) for name in ("b", "c")]
    workers, notes = workers_of(odd, *others)
    workers.start()
    assert workers.spec.identity["precision"] == "bf16"
    assert segments_made(workers) == list(range(6))
    assert not odd.computed
    deadline = time.monotonic() + 20  # the others may have made all before its own thread says so
    while not notes and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "1 worker less: odd has precision fp16, the others have bf16" in " ".join(notes)


BF16 = IDENTITY | {"precision": "bf16", "convolutions": "direct", "device": "cpu"}


def test_the_first_worker_chooses_the_precision_and_the_others_follow(workers_of):
    """One that cannot compute in it is left out."""
    lacks = Failure("PrecisionError", "--convolutions winograd is for fp32 (on c)")
    machines = [Machine(name, prepare=returning(BF16)) for name in ("a", "b", "c", "d")]
    machines[2]._prepare = lambda: BF16 if machines[2].asked[-1][0] == "auto" else lacks
    bad = Machine("bad", prepare=returning(BF16 | {"segment_frames": 7}))  # what it chooses does not count
    workers, notes = workers_of(bad, machines[0])
    workers.start()
    workers._cluster.machines += machines[1:]
    while not any("less" in note and "winograd" in note for note in notes):
        time.sleep(0.01)
    assert segments_made(workers) == list(range(6))
    assert bad.asked[0][0] in ("auto", "bf16")
    assert [machine.asked for machine in machines] == [[("auto", "auto")]] + [[("bf16", "direct")]] * 3
    assert not machines[2].computed


def test_a_machine_that_hangs_while_it_chooses_is_not_waited_for(workers_of, monkeypatch):
    monkeypatch.setattr(cluster_worker, "_CHOICE_SECONDS", 0.05)
    hangs = Machine("a", prepare=lambda: time.sleep(3))
    workers, _ = workers_of(hangs, Machine("b", prepare=returning(BF16)))
    workers.start()
    assert segments_made(workers) == list(range(6))
    assert workers._spec.now.settings.precision == "bf16"


def other_precision(task):
    return Failure("PrecisionError", f"it has no ncnn (on box) {task.segment.start}", cause="precision")


def test_a_worker_that_lacks_the_precision_of_a_clip_gets_nothing_of_it(workers_of):
    box = Machine("box", compute=other_precision)
    other = Machine("other", compute=lambda task: time.sleep(0.05) or result_of(task))
    workers, notes = workers_of(box, other, retries=0)
    workers.start()
    assert segments_made(workers) == list(range(6))
    assert len(box.computed) == 1
    assert notes == [f"a worker gets no more of walk.mp4: it has no ncnn (on box) {box.computed[0]}"]
    other._compute = other_precision
    with pytest.raises(PrecisionError, match="it has no ncnn"):
        segments_made(workers)


def test_a_clip_that_was_begun_keeps_its_precision(workers_of):
    workers, _ = workers_of(Machine("box", prepare=returning(BF16)))
    workers.start()
    settings = UpscaleConfig(device="cpu")
    assert workers.spec_for(settings, {}) is workers.spec
    spec = workers.spec_for(settings, {"precision": "fp32", "convolutions": "ncnn 1.0"})
    assert spec.identity == BF16 | {"precision": "fp32", "convolutions": "ncnn 1.0"}
    assert "with precision fp32 and convolutions ncnn 1.0 for a clip that was begun so" in spec.description
    named = settings.model_copy(update={"precision": "bf16", "convolutions": "direct"})
    assert workers.spec_for(named, {"precision": "fp32"}) is workers.spec


def test_a_machine_that_is_late_joins_when_it_is_ready(workers_of):
    late = Machine("late", start=lambda: time.sleep(0.3))
    workers, notes = workers_of(Machine("box", compute=lambda task: time.sleep(0.1) or result_of(task)), late)
    workers.start()
    assert any("1 worker not ready" in note for note in notes)
    segments_made(workers, 12)
    assert late.computed


def test_workers_that_all_end_later_end_the_run(workers_of):
    """Whatever they end by: a worker that is gone does not count as one that is there."""
    dies = Times(1, returning(None), raising(KeyError("resources")))
    box = Machine("box", start=dies, compute=raising(WorkerDied("killed")))
    workers, notes = workers_of(box)
    workers.start()
    with pytest.raises(ResourceError, match="no worker is left; the last one: a bug: KeyError"):
        segments_made(workers)
    assert workers.are_lost()
    assert notes[-1] == "1 worker less: a bug: KeyError: 'resources'"


def test_a_worker_that_no_longer_answers_is_replaced(workers_of):
    box = Machine("box", compute=Times(1, lambda task: time.sleep(2) or result_of(task), result_of))
    answers = Times(1, lambda: time.sleep(2), lambda: Progress(0.0))
    box.progress = answers
    workers, notes = workers_of(box)
    workers.start()
    assert segments_made(workers, 3) == [0, 1, 2]
    assert box.started == 2
    assert "died at segment 0-1 of walk.mp4 (no answer for 0 s)" in notes[0]


def broken(task):
    return Failure("ResourceError", f"its GPU no longer computes (on box) {task.segment.start}", cause="device")


def test_a_broken_gpu_takes_no_more_work_and_no_clip_is_to_blame(workers_of):
    """It fails faster than others compute, and would take all there is."""
    gone = Failure("ResourceError", "its GPU no longer computes (on box)")
    box = Machine("box", compute=broken, prepare=Times(1, returning(IDENTITY), returning(gone)))
    other = Machine("other", compute=lambda task: time.sleep(0.05) or result_of(task))
    workers, notes = workers_of(box, other, retries=0)
    workers.start()
    assert segments_made(workers) == list(range(6))
    assert len(box.computed) == 1
    assert notes == ["1 worker less: its GPU no longer computes (on box)"]


def test_a_segment_that_breaks_every_process_fails_its_clip_alone(workers_of):
    def compute(task):
        return broken(task) if task.segment.start == 1 else result_of(task)

    box = Machine("box", compute=compute)
    workers, _ = workers_of(box, retries=2)
    workers.start()
    with pytest.raises(ResourceError, match=r"3 workers died at segment 1-2 of walk.mp4"):
        segments_made(workers, 3)
    assert box.started == 4
    assert segments_made(workers, 1) == [0]


def blind(task):
    return Failure("InputError", f"cannot read walk.mp4 (on box) {task.segment.start}", cause="files")


def test_a_machine_that_lost_the_files_takes_no_more_of_the_clip(workers_of):
    box = Machine("box", compute=blind)
    other = Machine("other", compute=lambda task: time.sleep(0.05) or result_of(task))
    workers, notes = workers_of(box, other)
    workers.start()
    assert segments_made(workers) == list(range(6))
    assert len(box.computed) == 1
    assert notes == [f"a worker gets no more of walk.mp4: cannot read walk.mp4 (on box) {box.computed[0]}"]


def test_files_that_no_worker_sees_are_an_error_of_the_clip(workers_of):
    workers, _ = workers_of(Machine("a", compute=blind), Machine("b", compute=blind))
    workers.start()
    with pytest.raises(InputError, match=r"cannot read walk.mp4"):
        segments_made(workers)


def test_the_last_worker_that_sees_the_files_may_go(workers_of):
    """Then those that did not see them try again: nobody waits for ever."""
    good = Machine("good", start=Times(1, returning(None), raising(KeyError("resources"))))
    good._compute = lambda _: time.sleep(0.2) or raising(WorkerDied("killed"))()
    workers, _ = workers_of(Machine("a", compute=blind), good)
    workers.start()
    with pytest.raises(VsrError):
        segments_made(workers, 3)


def test_a_worker_looks_at_its_device_when_something_fails(tmp_path, monkeypatch):
    """`computes` is made to say what it says of a broken GPU: no GPU can be broken at will."""
    said = [True, False]
    monkeypatch.setattr(worker, "computes", lambda _: said.pop(0))
    made = SegmentWorker()
    settings = UpscaleConfig(model="bicubic-x4", device="cpu")
    spec = spec_of(settings, tmp_path, gpus=False, cpus=1, allow_cpu=False)
    spec.token.write_text(spec.secret)
    assert isinstance(made.prepare(spec), Ready)
    answer = made.compute(SimpleNamespace(folder=tmp_path), JobSource(tmp_path / "none.mp4", FileIdentity(1, 2)))
    assert answer.cause == "device"
    assert "the GPU no longer computes" in answer.message
    assert "none.mp4" in answer.message
    said.append(False)
    answer = made.prepare(spec)
    assert (answer.kind, answer.message.partition(":")[0]) == ("BrokenDeviceError", "the GPU no longer computes")


def test_devices_that_compute(monkeypatch):
    import torch

    assert computes(None)
    assert computes(torch.device("cpu"))
    for error, works in (
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
    ):
        monkeypatch.setattr(torch, "ones", lambda *_, error=error, **__: raising(error)())
        assert computes(torch.device("cuda", 0)) is works


def test_failures_of_a_worker_keep_their_class():
    assert type(Failure.of(ModelError("x"), "box").exception()) is ModelError
    assert Failure.of(ModelError("x"), "box").cause == "clip"
