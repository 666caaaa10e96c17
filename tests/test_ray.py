"""Segments on Ray: the same pixels whoever makes them and whoever dies meanwhile; nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.support.clips import make_video, same_pictures, stills_of
from tests.support.listening import Listener
from tests.support.networks import fill
from tests.support.serving import chromium, program, wait_until
from vsr_pipeline import api, cli
from vsr_pipeline.checkpoints.load import load_checkpoint
from vsr_pipeline.checkpoints.ranges import ranges_beside, save_ranges
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.errors import DiskFullError, Interrupted, ResourceError, StoppedForNow, UsageError
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.segment import SegmentResult
from vsr_pipeline.jobs.workers.spec import nodes_of, refuse_other_pixels, spec_of
from vsr_pipeline.jobs.workers.task_queue import Dispatch, DispatchExecutor, Progress
from vsr_pipeline.jobs.workers.worker import Failure, SegmentWorker
from vsr_pipeline.jobs.workers.workers import uses_processes
from vsr_pipeline.models.int8 import int8_instructions
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.train.calibrate import calibrated

REPOSITORY = Path(__file__).parent.parent
FRAMES = 24
# Nine segments of about a third of a second: long enough to be killed in the middle of.
OPTIONS = {"segment_frames": 3, "max_seq_len": 3, "lookahead": 2, "warm_up": 2, "preset": "ultrafast"}
RAY = api.WorkerOptions(executor="ray", cpus_per_worker=1)


def ray_processes():
    """Processes of Ray on this machine, and of its actors, by their ids."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if command.startswith("ray::") or "site-packages/ray/" in command:
                found[int(entry.name)] = command
    return found


def gone(before, seconds=60):
    """Wait until no process of Ray is left but those of before; return what is."""
    deadline = time.monotonic() + seconds
    while (left := {pid: c for pid, c in ray_processes().items() if pid not in before}) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def end_agents(before):
    """End the two processes of a cluster that Ray itself leaves for a minute or so when the driver was killed."""
    deadline = time.monotonic() + 20
    while (
        any("Agent" not in c for pid, c in ray_processes().items() if pid not in before) and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    for pid, command in ray_processes().items():
        if pid not in before and command.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")):
            os.kill(pid, signal.SIGKILL)


def worker_pids():
    return [pid for pid, command in ray_processes().items() if "ray::SegmentWorker" in command]


@pytest.fixture(scope="module")
def threads():
    """As many threads of torch here as each worker has: their number shows in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clip(tmp_path_factory, threads):
    """A clip with its checkpoint, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("ray")
    make_video(folder / "in" / "walk.mp4", frames=FRAMES, cut=11)
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, folder / "tiny.pth")
    run(folder, "serial", workers=api.WorkerOptions(executor="serial"))
    return folder


def config_of(folder):
    return Config().override(checkpoint=folder / "tiny.pth", **OPTIONS)


def run(folder, name, *, workers=RAY, reporter=None, **options):
    source, output = folder / "in" / "walk.mp4", folder / name / "out.mp4"
    options = api.RunOptions(workers=workers, **options)
    return api.run(source, output, config_of(folder), options=options, reporter=reporter or Reporter())


def report_of(folder, name):
    return json.loads((folder / name / ".vsr" / "out.mp4" / "report.json").read_text())


class Cluster:
    """A cluster on this machine, of nodes with one core each."""

    def __init__(self, tmp):
        from ray.cluster_utils import Cluster as Local

        size = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
        self._size = size
        self._local = Local(initialize_head=True, head_node_args=size | {"temp_dir": tmp})
        self._others = []

    @property
    def address(self):
        return self._local.address

    def resize(self, count):
        while len(self._others) + 1 < count:
            self._others.append(self._local.add_node(**self._size))
        while len(self._others) + 1 > count:
            self.lose_one()
        self._local.wait_for_nodes()

    def lose_one(self):
        """Let a node die as if its power had gone."""
        self._local.remove_node(self._others.pop(), allow_graceful=False)

    def shutdown(self):
        self._local.shutdown()


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'vsr-pipeline[ray]'")
    import tempfile

    before = ray_processes()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="vsr-ray-") as folder:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("RAY_TMPDIR", folder)  # Ray writes there where its latest cluster is
        Path(folder, "ray").mkdir()
        cluster = Cluster(folder)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        patch.setattr("ray._private.worker._worker_logs_enabled", False)  # it would print that nodes die
        yield cluster
        ray.shutdown()
        cluster.shutdown()
    assert gone(before) == {}


def test_a_cluster_that_is_not_there_is_one_line(clip, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vsr-pipeline[ray]'")
    command = [sys.executable, "-m", "vsr_pipeline", "run", str(clip / "in" / "walk.mp4"), "--model", "bicubic-x4"]
    options = ["--output", str(tmp_path / "out.mp4"), "--ray-address", "auto"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_TMPDIR": str(tmp_path)}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("vsr: cannot connect to Ray at auto: ")


class ActsAt(Listener):
    """Does things when so many frames have been worked on."""

    def __init__(self, **actions):
        super().__init__()
        self._actions = sorted((float(name.removeprefix("at")), action) for name, action in actions.items())
        self._done = 0.0
        self._is_enhancing = False

    def heard_start(self, what):
        self._is_enhancing = what.startswith("enhance")

    def heard_work(self, amount):
        self._done += amount if self._is_enhancing else 0
        while self._actions and self._done >= self._actions[0][0]:
            self._actions.pop(0)[1]()


def check_workers(folder, name, count):
    """What the report says of them."""
    workers = report_of(folder, name)["workers"]
    assert len(workers) == count
    assert sum(worker["frames"] for worker in workers) == FRAMES
    assert all(0 < worker["utilisation"] <= 1 for worker in workers)
    page = (folder / name / ".vsr" / "out.mp4" / "report.html").read_text()
    assert page.count(f"<td>{workers[0]['node']}</td>") == count
    return workers


@pytest.mark.nightly
@pytest.mark.parametrize("count", [1, 3])
def test_the_same_pixels_for_any_number_of_workers(cluster, clip, count):
    """Two of them do it below."""
    cluster.resize(count)
    outcome = run(clip, f"ray{count}")
    assert outcome.computed_frames == FRAMES
    assert same_pictures(outcome.output, clip / "serial" / "out.mp4")
    assert stills_of(outcome.output) == stills_of(clip / "serial" / "out.mp4")
    check_workers(clip, f"ray{count}", count)


def kill_a_worker():
    os.kill(worker_pids()[0], signal.SIGKILL)


@pytest.mark.nightly
def test_workers_compute_the_same_in_int8(cluster, clip):
    cluster.resize(2)
    if int8_instructions() is None:
        pytest.skip("this CPU multiplies no 8-bit integers")
    shutil.copyfile(clip / "tiny.pth", clip / "int8.pth")
    checkpoint = load_checkpoint(clip / "int8.pth")
    frames = (255 * torch.rand(2, 3, 64, 64)).to(torch.uint8)
    save_ranges(ranges_beside(clip / "int8.pth"), calibrated(checkpoint, [frames], Reporter()), checkpoint.sha256)
    config = config_of(clip).override(checkpoint=clip / "int8.pth", precision="int8")
    for name, workers in (("int8", RAY), ("int8_serial", api.WorkerOptions(executor="serial"))):
        options = api.RunOptions(workers=workers)
        outcome = api.run(
            clip / "in" / "walk.mp4", clip / name / "out.mp4", config, options=options, reporter=Reporter()
        )
        assert "in int8" in outcome.model
    assert same_pictures(clip / "int8" / "out.mp4", clip / "int8_serial" / "out.mp4")


def test_workers_that_are_killed_are_replaced(cluster, clip):
    cluster.resize(2)
    reporter = ActsAt(at5=kill_a_worker, at14=kill_a_worker)
    outcome = run(clip, "killed", reporter=reporter)
    assert outcome.computed_frames == FRAMES
    assert same_pictures(outcome.output, clip / "serial" / "out.mp4")
    assert sum(worker["deaths"] for worker in check_workers(clip, "killed", 2)) == 2
    assert len([note for note in reporter.notes if "died at segment" in note]) == 2


@pytest.mark.nightly
def test_a_segment_whose_workers_die_again_and_again_fails_the_clip(cluster, clip):
    cluster.resize(1)
    with pytest.raises(ResourceError, match=r"^1 worker died at segment \d+-\d+ of walk.mp4, the last on .* --retries"):
        run(clip, "lost", reporter=ActsAt(at5=kill_a_worker), retries=0)
    again = run(clip, "lost", workers=api.WorkerOptions(executor="serial"))
    assert again.reused_frames > 0
    assert same_pictures(again.output, clip / "serial" / "out.mp4")


@pytest.mark.nightly
def test_a_node_that_dies_and_one_that_joins(cluster, clip):
    cluster.resize(2)
    reporter = ActsAt(at5=lambda: cluster.resize(3), at10=cluster.lose_one)
    outcome = run(clip, "nodes", reporter=reporter)
    assert same_pictures(outcome.output, clip / "serial" / "out.mp4")


@pytest.mark.nightly
def test_a_batch_shares_the_workers_and_one_bad_clip_stops_no_other(cluster, clip, tmp_path, capsys):
    cluster.resize(2)
    inbox = tmp_path / "in"
    inbox.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (inbox / name).write_bytes((clip / "in" / "walk.mp4").read_bytes())
    (inbox / "bad.mp4").write_text("no video")
    options = api.BatchOptions(workers=RAY)
    outcome = api.batch(inbox, tmp_path / "out", config_of(clip), options=options, reporter=Reporter())
    assert outcome.exit_code == 7
    assert {c.input.name: c.status for c in outcome.clips} == {"a.mp4": "done", "b.mp4": "done", "bad.mp4": "failed"}
    for name in ("a_x4.mp4", "b_x4.mp4"):
        assert same_pictures(tmp_path / "out" / name, clip / "serial" / "out.mp4")
    assert [worker.frames for worker in outcome.workers] != [0, 0]
    assert sum(worker.frames for worker in outcome.workers) == 2 * FRAMES
    assert cli.run(["batch", "--status", "--output", str(tmp_path / "out")]) == 0
    clips, workers = capsys.readouterr().out.split("\n\n")
    assert len(clips.splitlines()) == 4
    assert len(workers.splitlines()) == 3
    assert cli.run(["batch", "--status", "--output", str(tmp_path / "out"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["workers"]) == 2


@pytest.mark.nightly
def test_a_batch_with_ray_heeds_its_queue(cluster, clip, tmp_path):
    cluster.resize(2)
    inbox, output = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (inbox / name).write_bytes((clip / "in" / "walk.mp4").read_bytes())

    def meddle():
        with api.open_queue(output) as queue:
            queue.cancel("b.mp4")
            queue.cancel("a.mp4", now=True)
            queue.add(["c.mp4"], {"strength": 0.5})  # for which other workers are needed
        time.sleep(1)

    options = api.BatchOptions(workers=RAY)
    outcome = api.batch(inbox, output, config_of(clip), options=options, reporter=ActsAt(at2=meddle))
    assert outcome.exit_code == 0
    becomes = {c.input.name: c.status for c in outcome.clips}
    assert becomes == {"a.mp4": "cancelled", "b.mp4": "cancelled", "c.mp4": "done"}
    with api.open_queue(output) as queue:
        assert {row.clip: row.state for row in queue.list()} == becomes
        for name in ("a.mp4", "b.mp4"):
            queue.retry(name)
    again = api.batch(inbox, output, config_of(clip), options=options, reporter=Reporter())
    assert {c.input.name: c.status for c in again.clips} == {"a.mp4": "done", "b.mp4": "done", "c.mp4": "unchanged"}
    for name in ("a_x4.mp4", "b_x4.mp4"):
        assert same_pictures(output / name, clip / "serial" / "out.mp4")
    source, alone, half = inbox / "c.mp4", tmp_path / "alone.mp4", config_of(clip).override(strength=0.5)
    serial = api.RunOptions(workers=api.WorkerOptions(executor="serial"))
    assert same_pictures(output / "c_x4.mp4", api.run(source, alone, half, options=serial, reporter=Reporter()).output)


@pytest.mark.nightly
def test_a_batch_that_is_interrupted_goes_on(cluster, clip, tmp_path):
    cluster.resize(2)
    inbox = tmp_path / "in"
    inbox.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (inbox / name).write_bytes((clip / "in" / "walk.mp4").read_bytes())

    def batch(reporter, *, executor):
        options = api.BatchOptions(workers=api.WorkerOptions(executor=executor, cpus_per_worker=1))
        return api.batch(inbox, tmp_path / "out", config_of(clip), options=options, reporter=reporter)

    from vsr_pipeline.runtime.signals import stoppable

    with stoppable(), pytest.raises(Interrupted) as stopped:
        batch(ActsAt(at8=lambda: os.kill(os.getpid(), signal.SIGTERM)), executor="ray")
    assert stopped.value.exit_code == 143
    assert {"stopped"} <= {row.state for row in api.batch_status(tmp_path / "out")} <= {"stopped", "queued"}
    outcome = batch(Reporter(), executor="serial")
    assert [c.status for c in outcome.clips] == ["done", "done"]
    assert sum(c.reused_frames for c in outcome.clips) > 0
    for name in ("a_x4.mp4", "b_x4.mp4"):
        assert same_pictures(tmp_path / "out" / name, clip / "serial" / "out.mp4")
    assert list(tmp_path.rglob("*.tmp*")) == []


def start(folder, name):
    """Start `vsr run` with a cluster of its own."""
    (folder / "settings.toml").write_text(config_of(folder).to_toml())
    command = [sys.executable, "-m", "vsr_pipeline", "run", "in/walk.mp4", "--output", f"{name}/out.mp4"]
    options = ["--config", "settings.toml", "--executor", "ray"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *options], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def wait_for_segments(folder, name, count, process):
    segments = folder / name / ".vsr" / "out.mp4" / "segments"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and len(list(segments.glob("0*"))) < count:
        time.sleep(0.01)


@pytest.mark.nightly
def test_a_driver_that_ends_takes_its_own_cluster_with_it(clip):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vsr-pipeline[ray]'")
    before = ray_processes()
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        driver = start(clip, "driver")
        done = len(list((clip / "driver").rglob("segments/0*")))
        wait_for_segments(clip, "driver", done + 2, driver)
        driver.send_signal(number)
        _, said = driver.communicate()
        assert driver.returncode == code, said
        if number == signal.SIGKILL:
            end_agents(before)
        assert gone(before) == {}
    assert run(clip, "driver", workers=api.WorkerOptions(executor="serial")).reused_frames > 0
    assert same_pictures(clip / "driver" / "out.mp4", clip / "serial" / "out.mp4")
    assert list((clip / "driver").rglob("*.tmp*")) == []


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:unclosed")
def test_a_page_starts_and_stops_a_batch_with_ray(clip, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vsr-pipeline[ray]'")
    before = ray_processes()
    # Copied, since x264 does not always make the same of the same pictures.
    shutil.copytree(clip / "in", tmp_path / "in")
    (tmp_path / "settings.toml").write_text(config_of(clip).to_toml())
    options = ("--config", str(tmp_path / "settings.toml"), "--executor", "ray", "--cpus-per-worker", "1")
    segments = tmp_path / "out" / ".vsr" / "walk_x4.mp4" / "segments"
    with program(tmp_path, *options) as server, chromium(locale="en-GB") as context:
        page = context.new_page()

        def wait(condition):
            return wait_until(condition, 240, pause=lambda seconds: page.wait_for_timeout(1000 * seconds))

        page.goto(server.url)
        page.get_by_role("button", name="Add to the queue").click()
        page.locator(".row.queued").wait_for()
        page.get_by_role("button", name="Start", exact=True).click()
        wait(lambda: len(list(segments.glob("0*"))) >= 2)
        assert worker_pids()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.locator(".row.stopped").wait_for(timeout=60_000)
        assert gone(before) == {}
        page.get_by_role("button", name="Start", exact=True).click()
        page.locator(".row.done").wait_for(timeout=240_000)
        page.get_by_role("button", name="Start", exact=True).wait_for()  # it says that the batch has ended
        assert gone(before) == {}
    made = tmp_path / "out" / "walk_x4.mp4"
    assert same_pictures(made, clip / "serial" / "out.mp4")
    said = (tmp_path / ".vsr" / "batch.txt").read_text()
    assert f" {FRAMES} frames of 256x192, " in said
    assert f" {FRAMES} computed now" not in said  # what was made before the stop was kept


def test_without_ray_the_program_works_and_says_how_to_get_it(clip, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery, sys\n"
        "class WithoutRay(importlib.machinery.PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name.partition('.')[0] == 'ray' else super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = WithoutRay\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vsr_pipeline", "run", str(clip / "in" / "walk.mp4"), "--max-frames", "2"]
    command += ["--model", "bicubic-x4", "--output", str(tmp_path / "out.mp4")]
    asked = subprocess.run([*command, "--executor", "ray"], env=environment, capture_output=True, text=True)
    assert asked.returncode == 2
    assert asked.stderr.splitlines()[-1].startswith("vsr: Ray is not installed")
    assert "pip install 'vsr-pipeline[ray]'" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert not (tmp_path / ".vsr").exists()
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0


def test_where_ray_is_used():
    cpu = UpscaleConfig(device="cpu")
    assert not uses_processes(api.WorkerOptions(), cpu, Reporter())
    assert not uses_processes(api.WorkerOptions(executor="serial"), cpu, Reporter())
    with pytest.raises(UsageError, match="--ray-address is of no use"):
        uses_processes(api.WorkerOptions(executor="serial", ray_address="auto"), cpu, Reporter())
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vsr-pipeline[ray]'")
    assert uses_processes(api.WorkerOptions(executor="ray"), cpu, Reporter())
    assert uses_processes(api.WorkerOptions(ray_address="head:6379"), cpu, Reporter())
    with pytest.raises(UsageError, match="--device cuda:1 names devices of this machine"):
        uses_processes(api.WorkerOptions(executor="ray"), UpscaleConfig(device="cuda:1"), Reporter())


def test_an_address_of_the_environment_counts_where_no_option_says_otherwise():
    def address(given=None, *, executor="auto", device="auto", variable="head:6379"):
        options = api.WorkerOptions(executor=executor, ray_address=given)
        return api.with_default_address(options, UpscaleConfig(device=device), variable).ray_address

    assert address() == address(executor="ray") == address(device="cpu") == "head:6379"
    assert address("auto") == "auto"
    assert address(executor="serial") is None
    assert address(device="cuda:1") is None
    assert address(variable=None) is address(variable="") is None
    assert address("auto", executor="serial") == "auto"  # which is refused


def test_a_variable_makes_no_command_refuse_an_option_that_nobody_gave(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    make_video(tmp_path / "a.mp4", frames=2)
    options = ["--model", "bicubic-x4", "--executor", "serial", "--output", str(tmp_path / "out.mp4")]
    assert cli.run(["run", str(tmp_path / "a.mp4"), *options]) == 0


def test_a_folder_named_ray_is_not_ray(tmp_path):
    (tmp_path / "ray").mkdir()
    code = (
        "sys.meta_path = [Only if finder is PathFinder else finder for finder in sys.meta_path]\n"
        "from vsr_pipeline.jobs.workers.workers import _ray_is_installed as there; print(there())"
    )
    finder = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Only(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        return PathFinder.find_spec(name, [{str(tmp_path)!r}] if name == 'ray' else path, target)\n"
    )
    done = subprocess.run([sys.executable, "-c", finder + code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def node(name, *, alive=True, **resources):
    return {"NodeID": name * 4, "NodeManagerHostname": name, "Alive": alive, "Resources": resources}


def test_workers_of_each_node():
    listed = [
        node("head", CPU=0.0),
        node("box", CPU=10.0, GPU=2.0),
        node("gone", alive=False, CPU=8.0, GPU=8.0),
        node("thin", CPU=1.0, GPU=4.0),
    ]
    on_cpus = nodes_of(listed, gpus=False, cpus_per_worker=4)
    assert [(n.name, n.workers) for n in on_cpus] == [("box", 2)]
    on_gpus = nodes_of(listed, gpus=True, cpus_per_worker=1)
    assert [(n.name, n.workers) for n in on_gpus] == [("box", 2), ("thin", 1)]


def test_workers_that_would_give_other_pixels_are_refused():
    hired = {"weights_sha256": "a", "precision": "bf16"}
    refuse_other_pixels(hired | {"device": "cuda"}, hired, "box")
    with pytest.raises(api.VsrError, match="box has weights_sha256 b, the others have a") as other:
        refuse_other_pixels(hired | {"weights_sha256": "b"}, hired, "box")
    assert other.value.exit_code == 4
    with pytest.raises(UsageError, match="box has precision fp32, the others have bf16"):
        refuse_other_pixels(hired | {"precision": "fp32"}, hired, "box")


def test_errors_arrive_as_what_they_were():
    error = Failure.of(DiskFullError("no space left"), "box").exception()
    assert type(error) is DiskFullError
    assert str(error) == "no space left (on box)"
    try:
        {}["missing"]
    except KeyError as bug:
        arrived = Failure.of(bug, "box").exception()
    assert str(arrived) == "KeyError: 'missing' (on box)"
    assert "Traceback" in arrived.__notes__[0]


def test_a_worker_that_does_not_see_the_files_says_so(clip, tmp_path):
    worker = SegmentWorker()
    settings = UpscaleConfig(model="bicubic-x4", device="cpu")
    blind = worker.prepare(spec_of(settings, tmp_path / "nowhere", gpus=False, cpus=1, allow_cpu=False))
    assert isinstance(blind, Failure)
    assert blind.kind == "ResourceError"
    assert f"cannot see the work folder {tmp_path}/nowhere" in blind.message
    spec = spec_of(settings, tmp_path, gpus=False, cpus=1, allow_cpu=False)
    spec.token.write_text(spec.secret)
    assert worker.prepare(spec).description == "bicubic-x4"
    source = clip / "in" / "walk.mp4"
    seen = JobSource(source, FileIdentity.of(source))
    for other in (JobSource(source, FileIdentity(1, 2)), JobSource(tmp_path / "none.mp4", FileIdentity(1, 2))):
        answer = worker.compute(task_of(0), other)
        assert isinstance(answer, Failure)
        assert answer.message.startswith("a worker ")
        assert str(other.path) in answer.message
    assert "cannot see the work folder" in worker.compute(task_of(0), seen).message


def task_of(number):
    """As much of a task as the queue looks at."""
    from types import SimpleNamespace

    return SimpleNamespace(number=number, folder=Path("/nowhere"))


def result_of(number):
    return SegmentResult(number, Path(), 0, "", 0, 0.0, ())


class Hands(threading.Thread):
    """A worker that does what it is told."""

    def __init__(self, dispatch, act):
        super().__init__(daemon=True)
        self.dispatch, self.act, self.taken = dispatch, act, []
        self.start()

    def run(self):
        while (assignment := self.dispatch.take()) is not None:
            self.taken.append(assignment.task.number)
            self.act(assignment)


@pytest.fixture
def dispatch():
    dispatch = Dispatch()
    yield dispatch
    dispatch.close()


def asked(dispatch, tasks, on_work=lambda _: None):
    source = JobSource(Path("walk.mp4"), FileIdentity(0, 0))
    return dispatch.run(tasks, source, on_work, lambda _: None)


def test_tasks_are_asked_for_when_a_worker_is_free(dispatch):
    given = []

    def tasks():
        for number in range(6):
            given.append(number)
            yield task_of(number)

    hands = Hands(dispatch, lambda a: dispatch.tell(a, result_of(a.task.number)))
    for result in asked(dispatch, tasks()):
        assert len(given) <= result.segment + 2
    assert hands.taken == list(range(6))


def test_what_is_under_way_is_kept_when_no_more_tasks_come(dispatch):
    held = []
    release = threading.Event()

    def act(assignment):
        held.append(assignment)
        release.wait(10)
        dispatch.tell(assignment, result_of(assignment.task.number))

    def tasks():
        yield task_of(0)
        yield task_of(1)
        release.set()
        raise StoppedForNow("late")

    for _ in range(3):
        Hands(dispatch, act)
    results = []
    with pytest.raises(StoppedForNow):
        for result in asked(dispatch, tasks()):
            results.append(result.segment)
    assert sorted(results) == [0, 1]


def test_a_failure_waits_for_the_other_segments(dispatch):
    def act(assignment):
        time.sleep(0.02 * assignment.task.number)
        failed = assignment.task.number == 0
        dispatch.tell(assignment, ResourceError("no") if failed else result_of(assignment.task.number))

    for _ in range(3):
        Hands(dispatch, act)
    results = []
    with pytest.raises(ResourceError, match="no"):
        for result in asked(dispatch, map(task_of, range(50))):
            results.append(result.segment)
    assert set(results) <= {1, 2, 3, 4, 5}
    assert dispatch.feeding == 0


def test_progress_is_passed_on_and_work_given_back_is_done_first(dispatch):
    worked = []

    def act(assignment):
        if assignment.deaths == 0 and assignment.task.number == 0:
            assignment.deaths += 1
            dispatch.tell(assignment, Progress(3.0))
            dispatch.tell(assignment, Progress(-3.0))
            dispatch.give_back(assignment)
        else:
            dispatch.tell(assignment, Progress(4.0))
            dispatch.tell(assignment, result_of(assignment.task.number))

    hands = Hands(dispatch, act)
    assert len(list(asked(dispatch, map(task_of, range(3)), worked.append))) == 3
    assert hands.taken == [0, 0, 1, 2]
    assert sum(worked) == 12


def test_a_clip_that_is_ended_in_the_middle_takes_no_other_along(dispatch):
    def act(assignment):
        dispatch.tell(assignment, Progress(1.0))
        dispatch.tell(assignment, result_of(assignment.task.number))

    def end(_):
        raise StoppedForNow("it was cancelled")

    worked = []
    of_all, source = Reporter(worked.append), JobSource(Path("walk.mp4"), FileIdentity(0, 0))
    Hands(dispatch, act)
    with pytest.raises(StoppedForNow):
        DispatchExecutor(dispatch, source, of_all, Reporter(end)).run(map(task_of, range(5)), [].append)
    assert dispatch.feeding == 0
    recorded = []
    DispatchExecutor(dispatch, source, of_all, Reporter()).run(map(task_of, range(5)), recorded.append)
    assert len(recorded) == 5
    assert sum(event.amount for event in worked) == 6


def test_stopping_reaches_whoever_waits(dispatch):
    Hands(dispatch, lambda _: None)
    timer = threading.Timer(0.1, lambda: dispatch.stop(Interrupted(signal.SIGTERM)))
    timer.start()
    with pytest.raises(Interrupted):
        list(asked(dispatch, map(task_of, range(2))))
    timer.join()
