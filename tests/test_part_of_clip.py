"""`--start`, `--end`, `--max-frames`, `--fps`, `--strict`: what of a clip is enhanced, and how fast it is shown."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.support.clips import audio_packets, decoded, make_video, times
from vsr_pipeline import cli
from vsr_pipeline.jobs.ledger import Ledger

QUICK = ("--model", "bicubic-x4", "--encoder-preset", "ultrafast")


@pytest.fixture
def clip(workspace):
    """20 frames, at 0, 47, 80, 127... ms, a cut at frame 12, and sound."""
    return make_video(workspace / "walk.mp4")


def run(*arguments, code=0):
    assert cli.run(["run", *map(str, arguments), *QUICK]) == code


def test_a_part_of_a_clip_with_its_sound(workspace, clip):
    run(clip, "--output", "part.mkv", "--start", "0.2", "--end", "0:00.4", "--quality", "100")
    source = times(clip)
    chosen = [t for t in source if Fraction(1, 5) <= t < Fraction(2, 5)]
    assert len(chosen) == 5
    found = times(workspace / "part.mkv")
    assert [abs(a - (b - chosen[0])) <= Fraction(1, 1000) for a, b in zip(found, chosen, strict=True)] == [True] * 5
    run(clip, "--output", "whole.mp4", "--quality", "100")
    same = decoded(workspace / "whole.mp4")[source.index(chosen[0]) :]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(decoded(workspace / "part.mkv"), same, strict=False))
    sound = audio_packets(workspace / "part.mkv")
    whole_sound = audio_packets(clip)
    assert 0 < len(sound) < len(whole_sound)
    assert any(whole_sound[k : k + len(sound)] == sound for k in range(len(whole_sound)))


def test_the_stages_know_the_same_part(workspace, clip):
    part = ("--start", "0.2", "--max-frames", "5")
    run(clip, "--output", "run.mp4", *part, "--quality", "100")
    assert cli.run(["split", str(clip), *part]) == 0
    assert cli.run(["enhance", *QUICK[:2]]) == 0
    assert cli.run(["merge", "--quality", "100", "--encoder-preset", "ultrafast"]) == 0
    merged = workspace / "results" / "walk" / "walk_x4.mp4"
    assert times(merged) == times(workspace / "run.mp4")
    assert len(times(merged)) == 5
    assert audio_packets(merged) == audio_packets(workspace / "run.mp4")
    for (_, a), (_, b) in zip(decoded(merged), decoded(workspace / "run.mp4"), strict=True):
        assert np.array_equal(a, b)


def test_what_enhance_makes_of_a_video_can_be_merged(workspace, clip, monkeypatch):
    assert cli.run(["enhance", "walk.mp4", "--max-frames", "3", *QUICK[:2]]) == 0
    monkeypatch.chdir("results")
    assert cli.run(["merge", "walk/enhanced", "--encoder-preset", "ultrafast"]) == 0
    assert times(workspace / "results" / "walk" / "walk_x4.mp4") == times(clip)[:3]


def test_a_part_that_is_not_there(workspace, clip, capsys):
    run(clip, "--output", "part.mp4", "--start", "1:00", code=2)
    assert "the picture ends at 0.8" in capsys.readouterr().err
    run(clip, "--output", "part.mp4", "--start", "0.201", "--end", "0.202", code=2)
    assert "the next frame is shown at 0.2" in capsys.readouterr().err
    run(clip, "--output", "part.mp4", "--start", "3", "--end", "2", code=2)
    run(clip, "--output", "part.mp4", "--start", "soon", code=2)
    assert not (workspace / "part.mp4").exists()


def test_a_part_that_was_mistyped_can_be_corrected(workspace, clip):
    command = ["run", str(clip), "--output", "out.mp4", "--model", "bicubic-x4"]
    assert cli.run([*command, "--start", "5"]) == 2
    assert cli.run([*command, "--start", "0.4"]) == 0


def test_what_follows_a_part_is_not_decoded(workspace, capsys):
    clip = make_video(workspace / "long.mp4", frames=200)
    run(clip, "--output", "part.mp4", "--start", "0.4", "--max-frames", "3", "--json")
    captured = capsys.readouterr()
    (outcome,) = json.loads(captured.out)
    assert outcome["frame_count"] == 3
    assert outcome["missing_seconds"] == 0
    with Ledger(workspace / ".vsr" / "part.mp4" / "ledger.sqlite") as book:
        assert book.analysis().timeline.frame_count == 14
    assert "announces" not in captured.err


def test_another_part_is_another_job(workspace, clip, capsys):
    run(clip, "--output", "part.mp4", "--max-frames", "3")
    run(clip, "--output", "part.mp4", "--max-frames", "4", code=2)
    assert "input.max_frames: 3 -> 4" in capsys.readouterr().err


def test_a_constant_rate_stays_in_step_and_computes_what_is_shown(workspace, clip, capsys):
    run(clip, "--output", "fast.mp4", "--fps", "50", "--segment-frames", "4", "--json")
    (outcome,) = json.loads(capsys.readouterr().out)
    assert times(workspace / "fast.mp4") == [Fraction(k, 50) for k in range(outcome["frame_count"])]
    assert outcome["frame_count"] == 40
    assert outcome["computed_frames"] == 20
    assert any("constant rate of 50" in note for note in outcome["notes"])
    assert audio_packets(workspace / "fast.mp4") == audio_packets(clip)
    run(clip, "--output", "slow.mp4", "--fps", "2", "--segment-frames", "4", "--json")
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["frame_count"] == 2
    # Only the segments with the two frames that are shown.
    assert outcome["computed_frames"] == 8
    with Ledger(workspace / ".vsr" / "slow.mp4" / "ledger.sqlite") as book:
        assert len(book.segments()) == 2


def test_strict_refuses_what_is_damaged_before_any_work(workspace, capsys):
    clip = make_video(workspace / "walk.mp4", frames=60, gop=12)
    data = bytearray(clip.read_bytes())
    data[1000 : len(data) // 2] = bytes(len(data) // 2 - 1000)
    clip.write_bytes(data)
    run(clip, "--output", "out.mp4", "--strict", code=3)
    said = capsys.readouterr().err
    assert "decode error" in said
    assert "enhance walk" not in said
    assert cli.run(["split", str(clip), "--strict"]) == 3
    capsys.readouterr()
    run(clip, "--output", "out.mp4", "--json")
    captured = capsys.readouterr()
    (outcome,) = json.loads(captured.out)
    assert outcome["decode_errors"] > 0
    assert "decode error" in captured.err
    assert "Decode errors" in (workspace / ".vsr" / "out.mp4" / "report.html").read_text()


def test_streams_can_be_dropped_and_the_codec_chosen(workspace, clip, capsys):
    options = ["--drop", "audio,chapters", "--codec", "ffv1", "--max-frames", "2", "--json"]
    assert cli.run(["run", str(clip), "--output", "out.mkv", *QUICK[:2], *options]) == 0
    with av.open(str(workspace / "out.mkv")) as container:
        assert [s.type for s in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.name == "ffv1"
    (outcome,) = json.loads(capsys.readouterr().out)
    assert any("as asked" in note for note in outcome["notes"])
    run(clip, "--output", "bad.mp4", "--codec", "h265", code=2)
    run(clip, "--output", "bad.mp4", "--encoder-option", "tune", code=2)
    run(clip, "--output", "bad.mp4", "--encoder-option", "no_such=1", code=2)
    run(clip, "--output", "bad.mp4", "--video-stream", "1", code=3)
    assert not (workspace / "bad.mp4").exists()
