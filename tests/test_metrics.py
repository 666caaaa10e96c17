"""The metrics against their definitions, on clips whose faults are known."""

import csv
import io
import json
import math
import stat
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from vsr_pipeline import cli
from vsr_pipeline.errors import InputError, OutputError, UsageError
from vsr_pipeline.media.ffmpeg import ffmpeg_binary
from vsr_pipeline.media.images import read_image, write_png
from vsr_pipeline.metrics import (
    FlickerMeter,
    FrameScores,
    VmafMeter,
    draw_curves,
    luma,
    mse,
    psnr,
    score,
    score_frames,
    ssim,
)
from vsr_pipeline.metrics import vmaf as vmaf_module
from vsr_pipeline.metrics.measure import compare, measure
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.runtime.terminal import Lines

SILENT = Reporter()


@pytest.fixture
def picture():
    return np.random.RandomState(0).randint(0, 256, (40, 50, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def truth():
    """Eight frames of 128 x 96: a soft picture that moves by (3, 1) a frame behind a square that stands still."""
    noise = np.random.RandomState(1).randint(0, 256, (160, 200, 3)).astype(np.uint8)
    scene = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 30, 225, cv2.NORM_MINMAX)
    frames = [scene[i : 96 + i, 3 * i : 128 + 3 * i].copy() for i in range(8)]
    for frame in frames:
        frame[40:56, 50:66] = (200, 90, 40)
    return frames


def noisy(frames, sigma):
    rng = np.random.default_rng(2)
    return [np.clip(f + sigma * rng.standard_normal(f.shape), 0, 255).round().astype(np.uint8) for f in frames]


def shifted(frames, offsets):
    return [(f.astype(int) + o).clip(0, 255).astype(np.uint8) for f, o in zip(frames, offsets, strict=True)]


def save(folder, frames):
    for i, frame in enumerate(frames):
        write_png(folder / f"{i}.png", frame)
    return folder


def encode(path, frames, pixel_format="yuv420p", codec="ffv1"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        for frame in frames:
            kind = "rgb24" if frame.dtype == np.uint8 else "rgb48le"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=kind)))
        container.mux(stream.encode(None))
    return path


def flicker_of(truth, frames):
    return score(zip(truth, frames, strict=True)).flicker


def test_psnr_of_a_constant_error():
    a = np.full((20, 20), 100.0)
    assert psnr(a, a + 5) == pytest.approx(10 * math.log10(255**2 / 25))
    assert psnr(a, a) == math.inf


def test_mse_by_hand():
    a = np.array([[10.0, 20], [30, 40]])
    b = np.array([[13.0, 20], [26, 35]])
    assert mse(a, b) == (3**2 + 0 + 4**2 + 5**2) / 4
    with pytest.raises(ValueError, match="differ"):
        mse(a, b[:1])


def test_mse_of_frames_on_rgb_and_on_luma():
    black = np.zeros((12, 12, 3), np.uint8)
    red = black.copy()
    red[:6, :, 0] = 255  # of half the pixels, one sample in three
    scores = score([(black, red)])
    assert scores.mse_rgb == pytest.approx(255**2 / 6)
    assert scores.mse_y == pytest.approx(65.481**2 / 2)
    assert scores.psnr_y == pytest.approx(10 * math.log10(255**2 / scores.mse_y))


def test_ssim_of_equal_and_of_opposite_pictures(picture):
    plane = picture[..., 0].astype(float)
    assert ssim(plane, plane) == pytest.approx(1)
    assert ssim(plane, 255 - plane) < 0


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b, c1 = 100.0, 120.0, (0.01 * 255) ** 2
    flat = np.ones((30, 30))
    assert ssim(a * flat, b * flat) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1))


def test_luma_is_bt601_in_studio_range():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], float)
    assert luma(colours)[0] == pytest.approx([16, 235, 81.481])


def test_depths_compare_as_what_they_show(picture):
    scores = score([(picture, picture.astype(np.uint16) * 257)])
    assert scores.psnr_rgb == math.inf
    assert scores.frame_count == 1


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match="no frames"):
        score([])


class TestFlicker:
    def test_equal_clips_have_none(self, truth):
        assert flicker_of(truth, truth) == 0

    def test_a_constant_offset_costs_nothing(self, truth):
        assert flicker_of(truth, shifted(truth, [9] * 8)) == pytest.approx(0, abs=1e-6)

    def test_a_pulse_of_brightness_costs_what_it_changes(self, truth):
        step = 6 * 219 / 255  # of luma
        assert flicker_of(truth, shifted(truth, [0, 6] * 4)) == pytest.approx(step, rel=0.01)

    def test_it_rises_with_noise_that_changes(self, truth):
        weak, strong = (flicker_of(truth, noisy(truth, sigma)) for sigma in (2, 8))
        assert 0 < weak < strong / 3

    def test_noise_that_moves_with_the_picture_costs_less_than_noise_that_stands(self, truth):
        dirt = np.random.default_rng(3).normal(0, 8, (160, 200, 1))
        dirt = cv2.GaussianBlur(dirt, (0, 0), 1.5)[..., None] * 5
        stuck = [np.clip(f + dirt[:96, :128], 0, 255).astype(np.uint8) for f in truth]
        moving = [
            np.clip(f + dirt[i : 96 + i, 3 * i : 128 + 3 * i], 0, 255).astype(np.uint8) for i, f in enumerate(truth)
        ]
        assert flicker_of(truth, moving) < 0.5 * flicker_of(truth, stuck)

    def test_the_first_frame_and_a_new_shot_have_none(self, truth):
        planes = [luma(f.astype(float)) for f in truth[:3]]
        other = luma(np.random.RandomState(9).randint(0, 256, (96, 128, 3)).astype(float))
        meter = FlickerMeter()
        values = [meter.feed(p, p + 3) for p in (*planes, other)]
        assert values[0] is None
        assert values[1:3] == pytest.approx([0, 0], abs=1e-9)
        assert values[3] is None or values[3] == pytest.approx(0, abs=1e-9)

    def test_tiny_frames(self):
        frames = list(np.random.RandomState(0).randint(0, 256, (3, 11, 13, 3)).astype(np.uint8))
        assert flicker_of(frames, frames) in (None, 0)


class TestVmaf:
    def test_equal_and_worse(self, truth):
        scores = []
        for frames in (truth, [cv2.GaussianBlur(f, (0, 0), 3) for f in noisy(truth, 20)]):
            with VmafMeter() as meter:
                scores.append([f.vmaf_neg for f in score_frames(zip(truth, frames, strict=True), meter)])
        assert np.mean(scores[0]) > 95
        assert np.mean(scores[1]) < 60

    def test_sharpening_raises_vmaf_and_not_neg(self, truth):
        sharper = [cv2.addWeighted(f, 2.0, cv2.GaussianBlur(f, (0, 0), 2), -1.0, 0) for f in truth]
        with VmafMeter() as meter:
            frames = score_frames(zip([cv2.GaussianBlur(f, (0, 0), 1) for f in truth], sharper, strict=True), meter)
        assert np.mean([f.vmaf for f in frames]) > np.mean([f.vmaf_neg for f in frames]) + 1

    @pytest.mark.parametrize("count", [1, 4, 5, 8])
    def test_pieces_score_as_the_whole_does(self, truth, count, monkeypatch):
        bad = noisy(truth, 12)

        def scores():
            with VmafMeter() as meter:
                return score_frames(zip(truth[:count], bad[:count], strict=True), meter)

        whole = scores()
        monkeypatch.setattr(vmaf_module, "_CHUNK_BYTES", 1)
        assert scores() == whole
        assert all(frame.vmaf is not None for frame in whole)

    def test_no_file_is_left(self, truth, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with VmafMeter() as meter:
            score_frames([(truth[0], truth[1])], meter)
            assert list(tmp_path.iterdir())
        assert not list(tmp_path.iterdir())

    def test_an_ffmpeg_without_it_is_said_and_the_rest_is_measured(self, truth, tmp_path, monkeypatch):
        program = tmp_path / "ffmpeg"
        program.write_text(
            '#!/bin/bash\nargs=()\nfor a in "$@"; do args+=("${a//libvmaf/libnone}"); done\n'
            f'exec "{ffmpeg_binary()}" "${{args[@]}}"\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("VSR_FFMPEG", str(program))
        said = io.StringIO()
        clip = save(tmp_path / "clip", truth[:2])
        measured = compare(clip, clip, reporter=Reporter(Lines(said)))
        assert measured.scores.vmaf is None
        assert measured.scores.psnr_y == math.inf
        (line,) = [line for line in said.getvalue().splitlines() if "no VMAF" in line]
        assert "without libvmaf" in line


class TestClips:
    def test_different_length(self, tmp_path, picture):
        a, b = save(tmp_path / "a", [picture] * 2), save(tmp_path / "b", [picture] * 3)
        with pytest.raises(InputError, match="ends after 2 frames"):
            compare(a, b, vmaf=False, reporter=SILENT)

    def test_a_smaller_clip_is_enlarged_first(self, tmp_path):
        large = save(tmp_path / "large", [np.full((40, 40, 3), 80, np.uint8)])
        small = save(tmp_path / "small", [np.full((10, 10, 3), 80, np.uint8)])
        assert compare(large, small, vmaf=False, reporter=SILENT).scores.psnr_rgb == math.inf

    def test_a_reference_whose_size_changes(self, tmp_path, picture):
        clip = save(tmp_path / "clip", [picture, picture[:30]])
        with pytest.raises(InputError, match=r"50x30.*50x40"):
            compare(clip, clip, reporter=SILENT)

    def test_folder_and_video_agree(self, tmp_path, truth):
        bad = noisy(truth, 5)
        folder = save(tmp_path / "truth", truth)
        video = encode(tmp_path / "truth.mkv", truth, "bgr0")
        of_folder, of_video = (compare(r, save(tmp_path / "bad", bad), reporter=SILENT) for r in (folder, video))
        assert of_folder.frames == of_video.frames

    def test_ten_bits(self, tmp_path, truth):
        deep = [f.astype(np.uint16) * 257 for f in truth]
        eight, ten = encode(tmp_path / "8.mkv", truth), encode(tmp_path / "10.mkv", deep, "yuv420p10le")
        (result,) = measure(ten, [eight], reporter=SILENT)
        assert 45 < result.scores.psnr_y < 65
        assert result.scores.vmaf > 95
        assert result.scores.flicker < 0.6


@pytest.fixture(scope="module")
def clips(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    save(folder / "truth", truth[:4])
    save(folder / "noisy", noisy(truth[:4], 10))
    return folder


class TestOutputs:
    def test_table(self, clips, capsys):
        assert cli.run(["metrics", *map(str, (clips / "truth", clips / "noisy", clips / "truth"))]) == 0
        header, bad, same = capsys.readouterr().out.splitlines()
        assert " ".join(header.split()) == "PSNR RGB PSNR Y SSIM RGB SSIM Y VMAF VMAF-NEG flicker MSE RGB MSE Y frames"
        assert bad.endswith("noisy")
        assert same.split()[:2] == ["inf", "inf"]
        assert float(bad.split()[0]) == pytest.approx(20 * math.log10(255 / 10), abs=0.5)

    def test_json_and_csv_say_the_same(self, clips, capsys, tmp_path):
        table = tmp_path / "scores.csv"
        arguments = [clips / "truth", clips / "noisy", clips / "truth", "--json", "--csv", table]
        assert cli.run(["metrics", *map(str, arguments)]) == 0
        bad, same = json.loads(capsys.readouterr().out)
        assert same["psnr_y"] == "inf"
        assert same["flicker"] == 0
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert [(row["distorted"], row["frame"]) for row in rows[:5]] == [
            *((str(clips / "noisy"), str(i)) for i in range(4)),
            (str(clips / "truth"), "0"),
        ]
        assert rows[0]["flicker"] == ""
        for name in ("psnr_rgb", "ssim_y", "vmaf", "vmaf_neg", "flicker", "mse_rgb", "mse_y"):
            values = [float(row[name]) for row in rows[:4] if row[name]]
            assert np.mean(values) == pytest.approx(bad[name])

    def test_without_vmaf(self, clips, capsys):
        assert cli.run(["metrics", "--no-vmaf", str(clips / "truth"), str(clips / "noisy")]) == 0
        assert capsys.readouterr().out.splitlines()[1].split()[4:6] == ["-", "-"]

    def test_files_are_checked_before_the_work(self, tmp_path):
        missing = tmp_path / "missing"
        with pytest.raises(UsageError, match=r"\.png"):
            measure(missing, [missing], plot_file=tmp_path / "plot.jpg", reporter=SILENT)
        (tmp_path / "scores.csv").write_text("mine")
        with pytest.raises(OutputError, match="--overwrite"):
            measure(missing, [missing], csv_file=tmp_path / "scores.csv", reporter=SILENT)

    def test_plot(self, clips, tmp_path):
        path = tmp_path / "curves.png"
        measure(clips / "truth", [clips / "noisy"], plot_file=path, reporter=SILENT)
        assert read_image(path).shape[2] == 3


def test_curves_lie_where_their_values_are():
    def clip(values):
        return [FrameScores(30, value, 0.9, 0.9) for value in values]

    picture = draw_curves([("high", clip([40.0] * 9)), ("low", clip([20.0, 20.0, math.inf, *[20.0] * 6]))])
    blue, orange = ((picture == colour).all(axis=2) for colour in ((0, 114, 178), (213, 94, 0)))
    legend = 120  # rows
    high, low = (np.flatnonzero(mask[legend:].any(axis=1)) + legend for mask in (blue, orange))
    assert high.max() < low.min()
    gaps = np.diff(np.flatnonzero(orange[round(low.mean())]))
    assert gaps.max() > 200  # on both sides of the frame that has no finite value
    assert draw_curves([("long", clip(np.linspace(20, 40, 5000)))]).shape == draw_curves([("short", clip([1.0]))]).shape
