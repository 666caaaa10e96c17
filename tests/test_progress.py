"""What the commands say while they work: true counts, in words that fit them."""

import io
import re

import av
import pytest

from tests.support.clips import images, make_video
from vsr_pipeline import cli
from vsr_pipeline.runtime.progress import Reporter, reported
from vsr_pipeline.runtime.terminal import Bars, Lines

# A plural after the number one; "is" and the like are no nouns.
_WRONG_PLURAL = re.compile(r"(?<![\d.,:/x-])(?:\d+/)?1 (?!is\b|has\b|was\b)[a-z]+s\b")
BICUBIC = ["--model", "bicubic-x4", "--encoder-preset", "ultrafast"]


def of_analysis(text):
    """(done, total) at the end of each analysis that was reported in lines."""
    return [(int(done), int(total)) for done, total in re.findall(r"analyse \S+: (\d+)/(\d+) frames?, ", text)]


@pytest.mark.parametrize("part", [["--start", "0.4"], ["--start", "0.4", "--max-frames", "5"], ["--end", "0.3"]])
@pytest.mark.parametrize("source", ["clip.mp4", "frames"])
def test_the_analysis_of_a_part_counts_what_it_decodes(workspace, capsys, part, source):
    make_video(workspace / "clip.mp4", frames=24, cut=12, audio=False)
    images(workspace / "frames", 24)
    assert cli.run(["run", source, "--output", "out.mp4", *BICUBIC, *part]) == 0
    ((done, total),) = of_analysis(capsys.readouterr().err)
    assert done == total <= 24


@pytest.mark.parametrize("kind", ["lines", "bar"])
def test_more_frames_than_were_announced_are_no_fraction_above_one(kind):
    said = io.StringIO()
    reporter = Reporter(Lines(said) if kind == "lines" else Bars(said))
    with reported(reporter, "analyse clip", 12):
        for _ in range(87):
            reporter.worked(1)
    assert "87 frames" in said.getvalue()
    assert "87/12" not in said.getvalue()


def test_what_is_not_known_is_not_said(workspace, capsys):
    make_video(workspace / "clip.mkv", frames=5, cut=3, audio=False)  # its header has no count
    assert cli.run(["run", "clip.mkv", "--output", "out.mkv", *BICUBIC]) == 0
    said = capsys.readouterr().err
    assert "?" not in said
    assert "analyse clip.mkv\n" in said


def test_one_of_anything_is_not_in_the_plural(workspace, capsys):
    make_video(workspace / "clip.mp4", frames=1, cut=3, audio=False)
    make_video(workspace / "cut.mp4", frames=3, cut=9, audio=False)
    data = (workspace / "cut.mp4").read_bytes()
    (workspace / "inbox").mkdir()
    (workspace / "inbox" / "a.mp4").write_bytes(data)
    one = images(workspace / "one", 1, 64, 64)
    commands = [
        ["run", "clip.mp4", "--output", "out.mp4", *BICUBIC, "--dry-run"],
        ["run", "clip.mp4", "--output", "out.mp4", *BICUBIC],
        ["split", "clip.mp4"],
        ["split", "clip.mp4"],
        ["enhance", *BICUBIC[:2]],
        ["enhance", *BICUBIC[:2]],
        ["merge", "--encoder-preset", "ultrafast"],
        ["demo", "one", "one", "--output", "demo.mp4", "--repeats", "0", "--fps", "1"],
        ["demo", "one", "clip.mp4", "--output", "demo.mp4", "--overwrite", "--fps", "1"],
        ["degrade", "one", "small.mp4"],
        ["metrics", "one", "one", "--no-vmaf"],
        ["batch", "inbox", "--output", "out", *BICUBIC, "--max-frames", "1"],
        ["batch", "inbox", "--output", "out", *BICUBIC, "--max-frames", "1", "--quality", "30"],
    ]
    for command in commands:
        assert cli.run(command) == 0, command
        printed = "".join(capsys.readouterr())
        assert not _WRONG_PLURAL.search(printed), (command, printed)
    page = (workspace / "out" / "report.html").read_text(encoding="utf-8")
    assert not _WRONG_PLURAL.search(re.sub(r"<style.*</style>|<script.*</script>", "", page, flags=re.DOTALL))
    assert one.is_dir()


def test_a_name_is_said_once_in_a_note(workspace, capsys):
    make_video(workspace / "clip.mp4", frames=30, cut=9, audio=False)
    data = (workspace / "clip.mp4").read_bytes()
    with av.open(str(workspace / "clip.mp4")) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    (workspace / "clip.mp4").write_bytes(data[: places[8]] + bytes(200) + data[places[8] + 200 :])
    folder = images(workspace / "shots", 3)
    (folder / "00000001.png").unlink()
    (workspace / "frame_00000000.png").write_bytes((folder / "00000000.png").read_bytes())
    (workspace / "frame_00000002.png").write_bytes((folder / "00000002.png").read_bytes())
    for command in (
        ["split", "clip.mp4"],
        ["enhance", "clip.mp4", *BICUBIC[:2]],
        ["run", "clip.mp4", "--output", "out.mp4", *BICUBIC],
        ["run", "frame_%08d.png", "--output", "images.mp4", *BICUBIC],
    ):
        assert cli.run(command) == 0
        said = capsys.readouterr().err
        assert "damaged" in said or "1 number has no image" in said
        for line in said.splitlines():
            assert line.count("clip.mp4") <= 1, line
            assert line.count("frame_%08d.png") <= 1, line


def test_a_dry_run_says_that_it_measures(workspace, capsys):
    make_video(workspace / "clip.mp4", frames=5, cut=3, audio=False)
    assert cli.run(["run", "clip.mp4", "--output", "out.mp4", *BICUBIC, "--dry-run"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("measure the speed: 6/6 frames")]
    assert not (workspace / "out.mp4").exists()
