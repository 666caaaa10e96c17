"""`vsr run`: from file to file, and on from where it was stopped."""

import json
import os
import sqlite3
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filelock import FileLock

from tests.support.clips import audio_packets, ledger, make_video, same_pictures, times
from tests.support.listening import Listener
from tests.support.networks import fill
from vsr_pipeline import api, cli
from vsr_pipeline.clip.footage import analyse_clip, footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry, Sizing
from vsr_pipeline.clip.inspect import inspect
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.job import RunOptions
from vsr_pipeline.jobs.segment import SegmentTask
from vsr_pipeline.jobs.workers.serial import SerialExecutor
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.plan import schedule_of
from vsr_pipeline.runtime.files import make_folder
from vsr_pipeline.runtime.process import here
from vsr_pipeline.runtime.progress import Reporter


@pytest.fixture
def clip(workspace):
    return make_video(workspace / "walk.mp4")


def run(clip, output="out.mp4", *options, code=0):
    arguments = ["run", str(clip), "--output", str(output), "--model", "bicubic-x4", "--segment-frames", "4", *options]
    assert cli.run(arguments) == code


def test_same_frames_times_and_sound_four_times_larger(workspace, clip):
    run(clip)
    output = workspace / "out.mp4"
    assert times(output) == times(clip)
    assert audio_packets(output) == audio_packets(clip)
    with av.open(str(output)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.codec_context.name) == (256, 192, "h264")
    left = {p.name for p in (workspace / ".vsr" / "out.mp4").iterdir()}
    stills = {f"{name}{ending}.jpg" for name in ("before", "after") for ending in ("", "_10", "_90")}
    assert left == {"ledger.sqlite", "lock", "report.json", "report.html", "run.log"} | stills


def test_the_stages_make_the_same_pixels(workspace, clip):
    run(clip, "out.mp4", "--quality", "100")
    options = ["--model", "bicubic-x4"]
    assert cli.run(["enhance", str(clip), "--output", "frames", *options]) == 0
    assert cli.run(["merge", "frames", "--source", str(clip), "--quality", "100", "--output", "merged.mp4"]) == 0
    assert same_pictures(workspace / "out.mp4", workspace / "merged.mp4")


def test_running_again_does_nothing(workspace, clip, capsys):
    run(clip)
    before = (workspace / "out.mp4").stat()
    capsys.readouterr()
    run(clip, "out.mp4", "--json")
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["status"] == "unchanged"
    assert (workspace / "out.mp4").stat() == before


def test_an_output_that_is_gone_is_made_again(workspace, clip):
    run(clip)
    (workspace / "out.mp4").rename(workspace / "kept.mp4")
    run(clip)
    assert same_pictures(workspace / "out.mp4", workspace / "kept.mp4")


def test_other_settings_are_an_error_that_names_them(workspace, clip, capsys):
    run(clip)
    run(clip, "out.mp4", "--quality", "40", code=2)
    assert "encode.quality: 72 -> 40" in capsys.readouterr().err
    run(clip, "out.mp4", "--quality", "40", "--fresh", "--overwrite")


def test_another_source_is_an_error_that_names_it(workspace, clip, capsys):
    run(clip)
    (workspace / "out.mp4").unlink()
    make_video(clip, frames=21)
    run(clip, code=2)
    assert "source.sha256" in capsys.readouterr().err


def test_a_foreign_output_is_kept(workspace, clip):
    (workspace / "out.mp4").write_text("precious")
    run(clip, code=6)
    assert (workspace / "out.mp4").read_text() == "precious"
    run(clip, "out.mp4", "--overwrite")
    assert len(times(workspace / "out.mp4")) == 20


def test_a_second_run_on_the_same_output_is_refused(workspace, clip, capsys):
    (workspace / ".vsr" / "out.mp4").mkdir(parents=True)
    with FileLock(workspace / ".vsr" / "out.mp4" / "lock"):
        run(clip, code=75)
    assert "another run" in capsys.readouterr().err


OPENED: list[list[str]] = []


def note_opened(event, arguments):
    if event == "open" and OPENED and isinstance(arguments[0], str):
        OPENED[-1].append(arguments[0])


sys.addaudithook(note_opened)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_segment_that_has_changed_is_made_again(workspace, clip, damage, monkeypatch):
    """Stopped before the join, with one of the finished segments damaged in the meantime."""
    run(clip, "undisturbed.mp4")
    stop_before_join(monkeypatch)
    with pytest.raises(KeyError, match="stopped here"):
        run(clip)
    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    segment = workspace / ".vsr" / "out.mp4" / "segments" / "00000004-00000008.mp4"
    data = segment.read_bytes()
    if damage == "missing":
        segment.unlink()
    else:
        segment.write_bytes(data[: len(data) // 2] if damage == "truncated" else data[:-9] + b"different")
    run(clip)
    assert same_pictures(workspace / "out.mp4", workspace / "undisturbed.mp4")
    with ledger(workspace / "out.mp4") as book:
        finished = {place: count.finished for place, count in book.attempts().items()}
    assert finished.pop((4, 8)) == 2
    assert set(finished.values()) == {1}


def stop_before_join(monkeypatch):
    """End a run as a crash would, at a place of the test's choice."""

    def crash(*_):
        raise KeyError("stopped here")

    monkeypatch.setattr("vsr_pipeline.jobs.job.join_segments", crash)


def test_a_run_that_continues_reads_the_joined_track_once_to_check_it(workspace, clip, monkeypatch):
    def crash(*_, **__):
        raise KeyError("stopped here")

    monkeypatch.setattr("vsr_pipeline.jobs.job.mux", crash)
    with pytest.raises(KeyError, match="stopped here"):
        run(clip)
    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    opened = []
    OPENED.append(opened)  # Python's own opens: PyAV and ffmpeg, which copy the track, are not seen
    try:
        run(clip)
    finally:
        OPENED.remove(opened)
    assert sum(name.endswith("track.mp4") for name in opened) == 1


def opens_of_the_source(clip, output, *options):
    opened = []
    OPENED.append(opened)
    try:
        run(clip, output, *options)
    finally:
        OPENED.remove(opened)
    with ledger(clip.parent / output) as book:
        segments = len(book.segments())
    return segments, sum(Path(name).name == clip.name for name in opened)


def test_the_source_is_opened_once_for_each_pass(workspace, clip):
    """Five times: to see that it can be read at all, before PyTorch is loaded; to inspect it; to hash it for the job's
    fingerprint; to decode it for the analysis; to decode it for the segments. The ffmpeg program, which copies sound
    and the like at the end, opens it for itself and is not counted.
    """
    assert opens_of_the_source(clip, "few.mp4", "--segment-frames", "20") == (2, 5)
    assert opens_of_the_source(clip, "many.mp4", "--segment-frames", "2") == (10, 5)
    assert opens_of_the_source(clip, "part.mp4", "--start", "0.2", "--max-frames", "4") == (1, 5)


def test_an_inspection_is_one_call_and_knows_whether_it_still_holds(workspace, clip):
    """In a batch, that one call goes to the child process that reads untried files."""
    called = []

    def call(path, function, on_frame=None):
        called.append(path)
        return here(path, function, on_frame)

    found = inspect(clip, workspace / "out.mkv", Config(), sizing=Sizing(scale=4), call=call)
    assert called == [clip]
    assert [stream.kind for stream in found.header.contents.streams] == ["video", "audio"]
    assert found.is_current
    clip.write_bytes(clip.read_bytes() + b"more")
    assert not found.is_current
    clip.unlink()
    assert not found.is_current


def test_dry_run_says_what_is_needed_and_does_nothing(workspace, clip, capsys):
    run(clip, "out.mp4", "--dry-run", "--json")
    (needed,) = json.loads(capsys.readouterr().out)
    assert needed["frame_count"] == 20
    assert needed["shots"] == 2
    assert needed["segments"] == 5
    assert needed["seconds"] > 0
    assert sorted(p.name for p in workspace.iterdir()) == ["walk.mp4"]


def test_streams_that_do_not_fit_are_named(workspace, clip, capsys):
    run(clip, "out.avi", code=6)
    assert ".mkv" in capsys.readouterr().err


def test_the_model_runs_in_segments_with_context(workspace, clip):
    """A real recurrent network: segments with enough context give what one segment gives."""
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, workspace / "tiny.pth")
    (workspace / "settings.toml").write_text("[upscale]\nwarm_up = 30\nlookahead = 30\nprecision = 'fp32'\n")
    for name, frames in (("parts.mkv", "5"), ("whole.mkv", "300")):
        settings = ["--checkpoint", "tiny.pth", "--config", "settings.toml", "--quality", "100"]
        arguments = [*settings, "--segment-frames", frames]
        assert cli.run(["run", str(clip), "--output", name, *arguments]) == 0
    assert same_pictures(workspace / "parts.mkv", workspace / "whole.mkv")


def test_a_damaged_ledger_is_one_line(workspace, clip, capsys):
    run(clip)
    (workspace / ".vsr" / "out.mp4" / "ledger.sqlite").write_bytes(b"no database" * 1000)
    run(clip, code=6)
    assert "--fresh" in capsys.readouterr().err


def test_the_ledger_survives_power_loss_by_its_settings(workspace, clip):
    run(clip)
    connection = sqlite3.connect(workspace / ".vsr" / "out.mp4" / "ledger.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # no write-ahead log: works on a network
    connection.close()


def test_a_negative_start_keeps_sound_and_picture_together(workspace, clip):
    """Frames before time zero cannot be in an mp4: everything moves by the same amount."""
    shifted = workspace / "shifted.mkv"
    with av.open(str(clip)) as source, av.open(str(shifted), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            packet.pts -= int(Fraction(1, 5) / packet.time_base)
            packet.dts -= int(Fraction(1, 5) / packet.time_base)
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    run(shifted, "out.mkv")
    assert np.diff([float(t) for t in times(workspace / "out.mkv")]) == pytest.approx(
        np.diff([float(t) for t in times(shifted)]), abs=0.002
    )


def test_a_failed_run_says_so_in_its_report(workspace, clip):
    (workspace / "out.mp4").write_text("precious")
    run(clip, code=6)
    report = json.loads((workspace / ".vsr" / "out.mp4" / "report.json").read_text())
    assert report["clips"][0]["status"] == "failed"
    assert "--overwrite" in report["clips"][0]["reason"]
    assert "exit code 6" in (workspace / ".vsr" / "out.mp4" / "run.log").read_text()


def test_a_name_that_is_not_unicode(workspace, clip):
    name = os.fsdecode(b"caf\xe9 %d 'x' \n.mp4")
    clip.rename(workspace / name)
    run(Path(name), Path(os.fsdecode(b"caf\xe9_x4.mp4")))
    assert len(times(workspace / os.fsdecode(b"caf\xe9_x4.mp4"))) == 20
    log = workspace / ".vsr" / os.fsdecode(b"caf\xe9_x4.mp4") / "run.log"
    assert "caf\\udce9_x4.mp4/report.html" in log.read_text()


def test_a_link_that_leads_to_itself_is_replaced(workspace, clip):
    (workspace / "out.mp4").symlink_to("out.mp4")
    run(clip)
    assert len(times(workspace / "out.mp4")) == 20


class Meddler(Listener):
    """Puts another video of the same times in the place of one that is worked on."""

    def __init__(self, clip, other):
        super().__init__()
        self._clip, self._other = clip, other

    def heard_saved(self):
        self._clip.write_bytes(self._other.read_bytes())


def test_a_film_that_is_replaced_meanwhile_is_not_half_of_the_output(workspace, clip):
    other = make_video(workspace / "other.mp4", width=80)
    config = Config().override(model="bicubic-x4", segment_frames=4)
    with pytest.raises(InputError, match="changed while it was enhanced"):
        api.run(clip, Path("out.mp4"), config, options=RunOptions(), reporter=Meddler(clip, other))
    assert not (workspace / "out.mp4").exists()
    run(clip, code=2)
    run(clip, "out.mp4", "--fresh")
    assert len(times(workspace / "out.mp4")) == 20


@pytest.mark.parametrize("command", ["run missing.mp4 --output out.mp4", "run text.mp4 --output out.mp4"])
def test_bad_input_leaves_nothing(workspace, command):
    (workspace / "text.mp4").write_text("no video")
    assert cli.run(command.split()) == 3
    assert [p.name for p in workspace.iterdir()] == ["text.mp4"]


def test_half_a_video_does_not_look_like_a_whole_one(workspace, capsys):
    clip = make_video(workspace / "walk.mp4", frames=60, gop=12)
    data = bytearray(clip.read_bytes())
    data[1000 : len(data) // 2] = bytes(len(data) // 2 - 1000)
    clip.write_bytes(data)
    run(clip, "out.mp4", "--json")
    captured = capsys.readouterr()
    (outcome,) = json.loads(captured.out)
    assert outcome["frame_count"] == len(times(workspace / "out.mp4")) < 60
    assert "announces 60 frames" in captured.err
    assert any("announces 60 frames" in warning for warning in outcome["warnings"])


def test_workers_in_any_order_make_the_same_files(workspace, clip, monkeypatch):
    """Two workers that share nothing, each with every second segment, last ones first: the run's bytes."""
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, workspace / "tiny.pth")
    stop_before_join(monkeypatch)
    with pytest.raises(KeyError, match="stopped here"):
        cli.run(["run", str(clip), "--output", "out.mp4", "--checkpoint", "tiny.pth", "--segment-frames", "4"])
    made = {p.name: p.read_bytes() for p in (workspace / ".vsr" / "out.mp4" / "segments").glob("*.mp4")}
    config = Config().override(checkpoint=workspace / "tiny.pth", segment_frames=4)
    header = look_at(clip, config.input)
    footage = footage_of(header, analyse_clip(header))
    schedule = schedule_of(footage.timeline, origin_ticks=0)
    spec = open_model(config.upscale)
    segments = spec.context.segments(footage.timeline)
    for worker in range(2):
        tasks = (
            SegmentTask(
                footage=footage,
                geometry=Geometry.of(header.info, spec.sizing, UpscaleConfig(), even=True),
                schedule=schedule,
                segment=segment,
                encode=config.encode,
                decision=None,
                decision_frames=spec.context.decision_frames,
                folder=make_folder(workspace / "workers"),
            )
            for segment in reversed(segments[worker::2])
        )
        results = []
        SerialExecutor(Fallback(spec), Reporter()).run(tasks, results.append)
        assert all(result.path.read_bytes() == made[result.path.name] for result in results)
    assert len(made) == len(segments) == 5
