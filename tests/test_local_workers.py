"""`--device cuda:0,1` starts a process for each device; processes on the CPU stand in for those on GPUs."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.support.clips import make_video, stills_of
from tests.support.listening import Listener
from tests.support.networks import fill
from vsr_pipeline import api
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.device import choose_device, devices_of
from vsr_pipeline.errors import ResourceError, UsageError
from vsr_pipeline.jobs.workers import local_cluster
from vsr_pipeline.jobs.workers.workers import uses_processes
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.runtime.progress import Reporter

REPOSITORY = Path(__file__).parent.parent
FRAMES = 12
OPTIONS = {"segment_frames": 2, "max_seq_len": 2, "lookahead": 1, "warm_up": 1, "preset": "ultrafast"}


def workers_of(parent):
    """Ids of the worker processes that a process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_child = (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(parent)
            if is_child and b"local_cluster" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip with its checkpoint, and what one process makes of it with as many threads as each worker has."""
    folder = tmp_path_factory.mktemp("local")
    make_video(folder / "in" / "walk.mp4", frames=FRAMES, cut=5)
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, folder / "tiny.pth")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run(folder, "serial", device="cpu")
    yield folder
    torch.set_num_threads(before)


def config_of(folder, device):
    return Config().override(checkpoint=folder / "tiny.pth", precision="fp32", device=device, **OPTIONS)


def run(folder, name, *, device="cpu,cpu", reporter=None):
    options = api.RunOptions(workers=api.WorkerOptions(cpus_per_worker=1))
    source, output = folder / "in" / "walk.mp4", folder / name / "out.mp4"
    return api.run(source, output, config_of(folder, device), options=options, reporter=reporter or Reporter())


def output_bytes(folder, name):
    return (folder / name / "out.mp4").read_bytes()


class Killer(Listener):
    """Kills a worker when the first segment is there."""

    killed = None

    def heard_saved(self):
        if self.killed is None:
            self.killed = workers_of(os.getpid())[0]
            os.kill(self.killed, signal.SIGKILL)


def test_a_killed_worker_costs_no_frame_and_changes_no_byte(clip):
    killer = Killer()
    assert run(clip, "killed", reporter=killer).status == "done"
    assert killer.killed is not None
    assert any("another one makes it" in note and "SIGKILL" in note for note in killer.notes)
    assert output_bytes(clip, "killed") == output_bytes(clip, "serial")
    assert stills_of(clip / "killed" / "out.mp4") == stills_of(clip / "serial" / "out.mp4")
    assert workers_of(os.getpid()) == []


def command(folder, name):
    config = folder / f"{name}.toml"
    config.write_text(config_of(folder, "cpu,cpu").to_toml(), encoding="utf-8")
    words = ["run", str(folder / "in" / "walk.mp4"), "-o", str(folder / name / "out.mp4"), "--config", str(config)]
    return [sys.executable, "-m", "vsr_pipeline", *words, "--cpus-per-worker", "1"]


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.nightly), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_workers_end_with_the_program_and_the_same_command_continues(clip, number, code):
    name = number.name
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command(clip, name), env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not list((clip / name).rglob("0*.mp4")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pids = workers_of(process.pid)
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
    assert process.returncode in (code, 0), said  # it may have been through
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run(clip, name)
    assert output_bytes(clip, name) == output_bytes(clip, "serial")


def test_names_of_several_devices():
    assert devices_of("cuda:0,2,3") == ("cuda:0", "cuda:2", "cuda:3")
    assert devices_of("cuda:1,cuda:0") == ("cuda:1", "cuda:0")
    assert devices_of("cpu,cpu") == ("cpu", "cpu")
    assert devices_of("auto") == ("auto",)
    for name in ("cuda:0,0", "cpu,cuda:0", "cuda,cuda:1", "mps,mps", "auto,1"):
        with pytest.raises(UsageError, match="each GPU once"):
            devices_of(name)
    with pytest.raises(UsageError, match="only `vsr run` and `vsr batch`"):
        choose_device("cpu,cpu")


def test_what_cannot_be_meant_or_had_is_refused_before_the_work():
    def decided(device, **options):
        return uses_processes(api.WorkerOptions(**options), UpscaleConfig(device=device), Reporter())

    assert decided("cpu,cpu")
    with pytest.raises(UsageError, match="--executor serial none"):
        decided("cpu,cpu", executor="serial")
    with pytest.raises(ResourceError, match="'cuda:77' was asked for"):
        decided("cuda:77,78")


def test_each_process_sees_its_own_gpu_among_those_that_are_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local_cluster._environment_of("cuda:2") == {"CUDA_VISIBLE_DEVICES": "2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7,GPU-5a")
    assert local_cluster._environment_of("cuda:1") == {"CUDA_VISIBLE_DEVICES": "7"}
    assert local_cluster._environment_of("cuda:2") == {"CUDA_VISIBLE_DEVICES": "GPU-5a"}
    assert local_cluster._environment_of("cpu") == {}
