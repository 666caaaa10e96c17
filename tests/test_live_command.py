"""`vsr live` as people start it: options, exit codes, what is said, signals, and ages measured from outside."""

import json
import re
import signal
import subprocess
import sys
import threading
import time

import av
import pytest

from tests.support.clips import times
from tests.support.live import RATE, CameraServer, Encoder, number_in, y4m_frames
from vsr_pipeline import cli
from vsr_pipeline.live.options import cameras

QUICK = ["--model", "nearest", "--scale", "2"]


def bars(path, count):
    with av.open(str(path), "w") as container:
        encoder = Encoder(container)
        for number in range(count):
            container.mux(encoder.packets(number))
        container.mux(encoder.stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "SOURCE is missing: give a camera's number"),
        (["a.mkv"], 2, "--to is missing: give http:8080"),
        (["missing.mkv", "--to", "null"], 3, "no such file: missing.mkv"),
        (["a.mkv", "--to", "a.mp4"], 2, "only .mkv can be played when the recording was cut off"),
        (["a.mkv", "--to", "there.mkv"], 6, "there.mkv exists: give --overwrite"),
        (["a.mkv", "--to", "null", "--model", "fsrcn-x3"], 4, "did you mean 'fsrcnn-x3'"),
        (["a.mkv", "--to", "null", "--max-age", "0"], 2, "--max-age 0: give a time such as 200ms"),
        (["a.mkv", "--to", "null", "--level", "9", *QUICK], 2, "--level 9: the levels are 0 to 0"),
        (["a.mkv", "--to", "null", "--model", "zssr"], 2, "choose another model"),
        (["a.mkv", "--to", "null", "--scale", "0.5"], 2, "would become smaller"),
        (["a.mkv", "--to", "y4m", "--json"], 2, "--json and --to y4m both write to standard output"),
        (["rtsp://u:geheim@127.0.0.1:1/x", "--to", "null", "--no-drop"], 2, "rtsp://127.0.0.1:1/x does not wait"),
        (["rtsp://u:geheim@127.0.0.1:1/x", "--to", "null", *QUICK], 3, "cannot open rtsp://127.0.0.1:1/x"),
        (["ftp://u:geheim@h/x", "--to", "null"], 2, "ftp:// is no protocol of vsr live"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(workspace, capsys, words, code, message):
    bars(workspace / "a.mkv", 3)
    (workspace / "there.mkv").touch()
    assert cli.run(["live", *words]) == code
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1]
    assert "geheim" not in said


@pytest.mark.skipif(bool(cameras()), reason="there is a camera")
def test_without_a_camera(capsys):
    assert cli.run(["live", "--list"]) == 0
    assert "no cameras" in capsys.readouterr().out
    assert cli.run(["live", "7", "--to", "null", *QUICK]) == 3
    assert "/dev/video7 is missing; there are none (vsr live --list)" in capsys.readouterr().err


def test_every_frame_of_a_file_in_order_with_its_times(workspace, capsys):
    bars(workspace / "a.mkv", 20)
    words = ["a.mkv", "--no-drop", "--to", "b.mkv", "--to", "null", *QUICK, "--compare", "bicubic", "--json"]
    assert cli.run(["live", *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["measured"]["out_by_sink"] == {"b.mkv": 20, "null": 20}
    assert result["measured"]["dropped"] == {}
    with av.open("b.mkv") as container:
        luma = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert luma[0].shape == (128, 512)
    assert [number_in(frame[:, :256]) for frame in luma] == [number_in(frame[:, 256:]) for frame in luma]
    assert [number_in(frame[:, :256]) for frame in luma] == list(range(20))
    assert [round(seconds * RATE) for seconds in times("b.mkv")] == list(range(20))


def test_a_second_is_a_line_for_people_or_json(workspace, capsys):
    bars(workspace / "a.mkv", 45)
    assert cli.run(["live", "a.mkv", "--to", "null", *QUICK, "--log-format", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()[:-1]]
    second = next(line for line in lines if line["event"] == "second")
    assert {"fps_in", "fps_out", "age_ms_p50", "age_ms_p95", "age_ms_max", "dropped", "level"} <= second.keys()
    assert cli.run(["live", "a.mkv", "--to", "null", *QUICK]) == 0
    said = capsys.readouterr().err
    assert re.search(r"^0:0\d [\d.]+ fps in, [\d.]+ out, age \d+/\d+/\d+ ms, .*level 0: nearest at 128x64$", said, re.M)
    assert said.splitlines()[-1].startswith("a.mkv: 45 frames in 0:0")


def started(*words, **more):
    command = [sys.executable, "-m", "vsr_pipeline", "live", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def test_a_camera_seen_from_outside(tmp_path):
    """Ages from the camera to the reader of y4m; drops; silence; Ctrl-C; the recording; no password anywhere."""
    recording = tmp_path / "a.mkv"
    with CameraServer() as camera:
        url = camera.url.replace("//", "//user:geheim@")
        with started(url, "--to", "y4m", "--to", recording, *QUICK) as live:
            seen = []
            for luma, at in y4m_frames(live.stdout):
                if not seen:
                    threading.Timer(4.0, live.send_signal, [signal.SIGINT]).start()
                    threading.Timer(1.0, setattr, [camera, "is_silent", True]).start()
                    threading.Timer(2.5, setattr, [camera, "is_silent", False]).start()
                seen.append((number_in(luma), at, luma.max()))
            said = live.stderr.read().decode()
            assert live.wait(10) == 130
        sent = dict(camera.sent)
    numbers = [number for number, _, _ in seen]
    assert None not in numbers
    assert numbers == sorted(numbers)
    assert {brightest > 150 for _, _, brightest in seen} == {True, False}  # grey while nothing came
    first_seen = {}
    for number, at, _ in seen:
        first_seen.setdefault(number, at - sent[number])
    ages = sorted(first_seen.values())
    assert ages[0] > 0
    assert ages[len(ages) // 2] < 1.0  # 0.07 s on a machine with nothing else to do
    total = re.search(r"vsr: stopped as asked; (\S+): (\d+) frames in .*?(\d+) to y4m", said)
    assert total[1] == f"http://127.0.0.1:{camera.port}/camera"
    assert int(total[3]) == len(first_seen)
    ended = said[total.start() :].partition(", dropped ")[2]
    dropped = sum(int(count) for count in re.findall(r"(\d+) (?:model|y4m|end)\b", ended))
    assert int(total[2]) == int(total[3]) + dropped
    assert len(times(recording)) >= int(total[3]) // 2
    assert "geheim" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


def test_y4m_in_and_out_of_pipes_loses_nothing(tmp_path):
    y4m = tmp_path / "a.y4m"
    with av.open(str(bars(tmp_path / "a.mkv", 25))) as source, av.open(str(y4m), "w", format="yuv4mpegpipe") as target:
        stream = target.add_stream("wrapped_avframe", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    with y4m.open("rb") as stdin, started("-", "--no-drop", "--to", "y4m", *QUICK, stdin=stdin) as live:
        frames = [(number_in(luma), luma.shape) for luma, _ in y4m_frames(live.stdout)]
        said = live.stderr.read().decode()
        assert live.wait(10) == 0, said
    assert frames == [(number, (128, 256)) for number in range(25)]


@pytest.mark.nightly
def test_a_player_that_is_closed_and_a_kill(tmp_path):
    with CameraServer() as camera:
        with started(camera.url, "--to", "y4m", *QUICK) as live:
            next(y4m_frames(live.stdout))
            live.stdout.close()
            assert live.wait(20) == 0
            assert "y4m ended: nobody reads it any more" in live.stderr.read().decode()
        with started(camera.url, "--to", "y4m", "--to", tmp_path / "a.mkv", *QUICK) as live:
            frames = y4m_frames(live.stdout)
            start = next(frames)[1]
            while next(frames)[1] < start + 8:
                pass
            live.kill()
        assert [path.name for path in tmp_path.iterdir()] == ["a.partial.mkv"]
        assert times(tmp_path / "a.partial.mkv")[-1] > 4
        with started(camera.url, "--to", "y4m", *QUICK) as live:
            next(y4m_frames(live.stdout))
            time.sleep(2)  # the reader stands still
            live.terminate()
            assert live.wait(30) == 143
