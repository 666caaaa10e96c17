"""split, enhance and merge on real files: nothing lost, and done work is not done again."""

import json
import os
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from tests.golden.make_reference import make_clip
from tests.support.clips import audio_packets, make_video, times
from tests.support.listening import Listener
from tests.support.networks import CASES, GOLDEN, golden_net
from vsr_pipeline import api, cli
from vsr_pipeline.media.images import list_frames, png_size, read_image, write_png
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.stages.merge import merged_model
from vsr_pipeline.stages.workspace import Clip


@pytest.fixture
def clip(workspace):
    return make_video(workspace / "data" / "walk.mp4")


def vsr(*arguments):
    assert cli.run([str(a) for a in arguments]) == 0


def contents(folder):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.glob("*.png"))}


def test_the_workspace_without_paths(workspace, clip):
    vsr("split")
    vsr("enhance", "--model", "bicubic-x4")
    vsr("merge")
    output = workspace / "results" / "walk" / "walk_x4.mp4"
    assert times(output) == times(clip)
    assert merged_model(output) == "bicubic-x4"  # what `vsr demo` writes on its right side
    assert merged_model(output.with_name("other.mp4")) is None
    assert audio_packets(output) == audio_packets(clip)
    with av.open(str(output)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.codec_context.name) == (256, 192, "h264")
    assert list((workspace / "results").rglob(".*")) == []


def test_split_records_exact_time_and_cuts(workspace, clip):
    vsr("split", clip)
    known = Clip.load(workspace / "results" / "walk")
    assert [p * known.timeline.time_base for p in known.timeline.pts] == times(clip)
    assert known.timeline.cuts == (12,)
    assert known.info.display_size == (64, 48)


def test_split_again_writes_only_what_is_missing_or_damaged(workspace, clip, capsys):
    vsr("split", clip)
    frames = workspace / "results" / "walk" / "frames"
    before = contents(frames)
    (frames / "00000003.png").unlink()
    (frames / "00000005.png").write_bytes(b"broken")
    capsys.readouterr()
    vsr("split", clip, "--json")
    assert json.loads(capsys.readouterr().out)[0]["written_frames"] == 2
    after = contents(frames)
    assert {n: d for n, (d, _) in after.items()} == {n: d for n, (d, _) in before.items()}
    changed = [n for n in after if after[n][1] != before[n][1]]
    assert changed == ["00000003.png", "00000005.png"]


def test_enhance_again_makes_only_what_is_missing_or_new(workspace, clip, capsys):
    vsr("split", clip)
    frames, enhanced = (workspace / "results" / "walk" / n for n in ("frames", "enhanced"))
    options = ("--model", "bicubic-x4", "--segment-frames", "4", "--json")

    def computed():
        capsys.readouterr()
        vsr("enhance", frames, *options)
        return json.loads(capsys.readouterr().out)[0]["computed_frames"]

    assert computed() == 20
    assert computed() == 0
    (enhanced / "00000001.png").unlink()
    assert computed() == 4
    edited = read_image(frames / "00000013.png")
    edited[:8] = 0
    write_png(frames / "00000013.png", edited)
    assert computed() == 4
    assert read_image(enhanced / "00000013.png")[:20].max() < 30
    options = ("--model", "bicubic-x4", "--segment-frames", "5", "--json")
    assert computed() == 20


class Edits(Listener):
    """Changes a frame while the segment that needs it is being made, after it was read."""

    def __init__(self, path):
        super().__init__()
        self._path = path

    def heard_work(self, _amount):
        if self._path is not None:
            edited = read_image(self._path)
            edited[:8] = 0
            write_png(self._path, edited)
        self._path = None


def test_a_frame_that_is_edited_meanwhile_is_not_taken_for_done(workspace, clip):
    vsr("split", clip)
    frames = workspace / "results" / "walk" / "frames"
    config = api.Config().override(model="bicubic-x4", segment_frames=4)
    target = api.image_target(f"{workspace}/results/walk/enhanced/")

    def computed(reporter):
        return api.enhance(frames, target, config, reporter=reporter).computed_frames

    assert computed(Edits(frames / "00000000.png")) == 20
    assert computed(Reporter()) == 4
    assert read_image(target.folder / "00000000.png")[:20].max() < 30
    assert computed(Reporter()) == 0


def test_merge_again_does_nothing_until_something_changes(workspace, clip, capsys):
    vsr("split")
    vsr("enhance", "--model", "bicubic-x4")

    def written(*options):
        capsys.readouterr()
        vsr("merge", "--json", *options)
        return json.loads(capsys.readouterr().out)[0]["written"]

    assert written()
    assert not written()
    assert written("--quality", "40")
    assert written("--fps", "25")
    assert times(workspace / "results" / "walk" / "walk_x4.mp4") == [Fraction(i, 25) for i in range(20)]


def test_merge_refuses_when_frames_are_missing(workspace, clip, capsys):
    vsr("split")
    vsr("enhance", "--model", "bicubic-x4")
    (workspace / "results" / "walk" / "enhanced" / "00000019.png").unlink()
    assert cli.run(["merge"]) == 3
    assert "19 images" in capsys.readouterr().err
    assert not (workspace / "results" / "walk" / "walk_x4.mp4").exists()


def test_a_clip_json_that_has_the_path_with_the_size_is_read(workspace, clip, capsys):
    """As it was written before one type said by what any file is known again."""
    assert cli.run(["split"]) == 0
    record = workspace / "results" / clip.stem / "clip.json"
    values = json.loads(record.read_bytes())
    before = {"path": values.pop("path"), **values["source"]}
    del before["sha256"], values["footage"]["header"]["contents"]
    record.write_text(json.dumps({**values, "source": before}))
    capsys.readouterr()
    assert cli.run(["split"]) == 0
    assert "are there already" in capsys.readouterr().err
    assert cli.run(["enhance", "--model", "bicubic-x4"]) == 0
    assert cli.run(["merge"]) == 0
    assert audio_packets(workspace / "results" / clip.stem / f"{clip.stem}_x4.mp4") == audio_packets(clip)
    record.write_text(json.dumps({**values, "source": 1}))
    assert cli.run(["merge", "--overwrite"]) == 3
    assert "run `vsr split` again" in capsys.readouterr().err


def test_an_output_that_exists_is_kept(workspace, clip):
    vsr("split")
    vsr("enhance", "--model", "bicubic-x4")
    (workspace / "mine.mp4").write_text("precious")
    assert cli.run(["merge", "results/walk/enhanced", "--output", "mine.mp4"]) == 6
    assert (workspace / "mine.mp4").read_text() == "precious"
    vsr("merge", "results/walk/enhanced", "--output", "mine.mp4", "--overwrite")
    assert len(times(workspace / "mine.mp4")) == 20


def test_the_source_is_never_replaced(workspace, clip, capsys):
    vsr("split")
    before = clip.read_bytes()
    assert cli.run(["merge", "results/walk/frames", "--output", str(clip), "--overwrite"]) == 6
    assert "would replace its own source" in capsys.readouterr().err
    assert clip.read_bytes() == before


def test_a_shorter_part_leaves_no_frames_of_a_longer_one(workspace, clip):
    vsr("split")
    vsr("enhance", "--model", "bicubic-x4")
    vsr("split", clip, "--max-frames", "7")
    vsr("enhance", "--model", "bicubic-x4")
    vsr("merge")
    assert len(times(workspace / "results" / "walk" / "walk_x4.mp4")) == 7


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are always Unicode here")
def test_a_name_that_is_no_unicode(workspace, clip):
    name = os.fsdecode(b"caf\xe9.mp4")
    clip.rename(clip.parent / name)
    vsr("split")
    vsr("merge", "results/" + os.fsdecode(b"caf\xe9/frames"), "--output", "out.mp4")
    assert times(workspace / "out.mp4") == times(clip.parent / name)


def test_frames_of_another_video_are_kept(workspace, clip):
    vsr("split", clip)
    other = workspace / "walk.mp4"
    other.write_bytes(clip.read_bytes())
    assert cli.run(["split", str(other)]) == 6
    vsr("split", other, "--results", "elsewhere")


def test_two_videos_for_one_folder_are_refused_before_any_work(workspace, clip):
    (clip.parent / "walk.mkv").write_bytes(clip.read_bytes())
    assert cli.run(["split"]) == 2
    assert not (workspace / "results").exists()


def test_one_broken_video_does_not_stop_the_others(workspace, clip, capsys):
    (clip.parent / "broken.mp4").write_text("no video")
    assert cli.run(["split"]) == 7
    assert "broken.mp4" in capsys.readouterr().err
    assert len(list_frames(workspace / "results" / "walk" / "frames")) == 20


def test_enhance_takes_a_video_itself(workspace, clip):
    vsr("split", clip)
    vsr("enhance", "results/walk/frames", "--model", "bicubic-x4", "--output", "from_frames")
    vsr("enhance", clip, "--model", "bicubic-x4", "--output", "from_video")
    for a, b in zip(list_frames(workspace / "from_frames"), list_frames(workspace / "from_video"), strict=True):
        assert np.array_equal(read_image(a), read_image(b))


def test_a_bare_folder_needs_a_rate(workspace):
    for i in range(3):
        write_png(workspace / "stills" / f"{i}.png", np.full((10, 12, 3), 40 * i, np.uint8))
    vsr("enhance", "stills", "--model", "bicubic-x4")
    assert png_size(workspace / "results" / "stills" / "enhanced" / "00000002.png") == (48, 40)
    assert cli.run(["merge"]) == 2
    vsr("merge", "--fps", "30000/1001")
    assert times(workspace / "results" / "stills" / "stills_x4.mp4") == [Fraction(1001 * i, 30000) for i in range(3)]


def test_official_windows_and_a_checkpoint_give_the_golden_frames(workspace):
    """The official network's own outputs, through files and the command line."""
    case = CASES["tiny_windows"]
    weights = {f"generator.{name}": value for name, value in golden_net(case).state_dict().items()}
    torch.save({"meta": {}, "state_dict": weights}, workspace / "golden.pth")
    clip = make_clip(case["frames"], case["height"], case["width"], case["seed"])
    for index, frame in enumerate(clip):
        write_png(workspace / "lq" / f"{index:08d}.png", (frame * 255).round().astype(np.uint8).transpose(1, 2, 0))
    options = ["--windows", "official", "--max-seq-len", case["max_seq_len"], "--precision", "fp32"]
    vsr("enhance", "lq", "--checkpoint", "golden.pth", *options, "--output", "hr")
    stride = case["stride"]
    with np.load(GOLDEN / "mmedit_0.16.1.npz") as golden:
        expected = (golden["tiny_windows/output"].clip(0, 1) * 255).round().transpose(0, 2, 3, 1)
    for path, frame in zip(list_frames(workspace / "hr"), expected, strict=True):
        assert np.abs(read_image(path)[::stride, ::stride].astype(int) - frame).max() <= 1
