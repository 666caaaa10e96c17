"""NIQE and BRISQUE: against the figures of other implementations, on clips whose faults are known, and as a command."""

import csv
import hashlib
import io
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.golden.make_brisque import pictures
from vsr_pipeline import cli, metrics
from vsr_pipeline.media.antialias import antialiased_bicubic
from vsr_pipeline.media.images import read_image, write_png
from vsr_pipeline.metrics import FrameScores, NaturalnessMeter, draw_curves, psnr
from vsr_pipeline.metrics.brisque import brisque
from vsr_pipeline.metrics.measure import judge, measure, short_names
from vsr_pipeline.metrics.niqe import niqe
from vsr_pipeline.metrics.sample import SAMPLE_SIZE
from vsr_pipeline.metrics.scene_statistics import fit, normalized
from vsr_pipeline.runtime.progress import Reporter
from vsr_pipeline.runtime.terminal import Lines

GOLDEN = Path(__file__).parent / "golden" / "brisque.json"
NUMBERS = Path(metrics.__file__).with_name("niqe.npz")
SILENT = Reporter()
PICTURES = pictures()


@pytest.fixture(scope="module")
def faces(shared_data):
    """Frames of a video of people, 640x360, as float."""
    folder = shared_data / "data" / "clips" / "realbasicvsr_demo"
    return {index: read_image(folder / f"{index:08d}.png").astype(float) for index in (0, 6, 12, 18, 24)}


@pytest.fixture(scope="module")
def scene():
    """A picture of 192x288 with the statistics of natural scenes; uint8."""
    return np.tile(PICTURES["clean"], (2, 2, 1))[:192, :288]


@pytest.fixture(scope="module")
def clip(scene, tmp_path_factory):
    """A folder of 27 frames: the picture, with more and more noise."""
    folder = tmp_path_factory.mktemp("clips") / "clip"
    noise = np.random.RandomState(3).standard_normal(scene.shape)
    for index in range(27):
        write_png(folder / f"{index:02d}.png", np.clip(np.rint(scene + index * noise), 0, 255).astype(np.uint8))
    return folder


class TestNiqe:
    def test_the_figures_of_another_implementation(self, faces):
        found = [niqe(frame) for frame in faces.values()]
        assert found == pytest.approx([4.14, 4.13, 3.98, 3.95, 3.90], abs=0.02)

    def test_a_bicubic_enlargement_is_far_worse(self, faces):
        large = cv2.resize(faces[24].astype(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        assert niqe(large.astype(float)) == pytest.approx(7.93, abs=0.02)

    def test_the_numbers_are_the_published_ones_and_the_window_is_ours(self):
        digest = hashlib.sha256(NUMBERS.read_bytes()).hexdigest()
        assert (digest[:8], digest[-4:]) == ("2a7c182a", "4296")
        kernel = cv2.getGaussianKernel(7, 7 / 6)
        with np.load(NUMBERS) as numbers:
            np.testing.assert_allclose(numbers["gaussian_window"], kernel @ kernel.T, atol=1e-12)

    def test_what_no_two_blocks_fit_into_has_none(self, scene):
        picture = scene.astype(float)
        assert niqe(picture[:96, :191]) is None
        assert niqe(picture[:95]) is None
        assert niqe(picture[:96, :192]) > 0

    def test_flat_areas_do_not_count(self, scene):
        picture = scene.astype(float)
        bars = np.pad(picture, [(96, 96), (0, 0), (0, 0)])
        assert niqe(bars) == pytest.approx(niqe(picture), abs=0.3)
        assert niqe(np.full_like(picture, 77)) is None


class TestBrisque:
    @pytest.mark.parametrize("name", PICTURES)
    def test_the_scores_of_the_package(self, name):
        expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
        assert set(expected) == set(PICTURES)
        assert brisque(PICTURES[name].astype(float)) == pytest.approx(expected[name], abs=0.01)

    def test_what_is_small_or_flat_has_none(self, scene):
        assert brisque(scene[:13].astype(float)) is None
        assert brisque(scene[:14].astype(float)) is not None
        assert brisque(np.full((64, 64, 3), 77.0)) is None
        assert brisque(np.zeros((64, 64, 3))) is None


def test_over_sharpened_pictures_are_overrated(faces):
    """What the program warns of, with the figures of the page: far from the truth, and nearly as good or better."""
    truth = faces[12]
    spoiled = np.clip(truth + 1.2 * (truth - cv2.GaussianBlur(truth, (0, 0), 0.8)), 0, 255)
    assert psnr(truth, spoiled) == pytest.approx(28.3, abs=0.1)
    assert niqe(spoiled) - niqe(truth) == pytest.approx(0.01, abs=0.02)
    assert brisque(spoiled) - brisque(truth) == pytest.approx(-7.7, abs=0.1)


class TestStatistics:
    def test_distributions_are_found_again(self):
        rng = np.random.default_rng(0)
        samples = np.stack([rng.normal(0, 3, 400_000), rng.laplace(0, 1, 400_000)])
        found = fit(samples, zeros_are_right=True)
        assert found.shape == pytest.approx([2, 1], rel=0.02)
        assert found.left == pytest.approx([3, 2**0.5], rel=0.02)
        assert found.left_scale == pytest.approx([3 * 2**0.5, 1], rel=0.02)
        assert found.mean == pytest.approx([0, 0], abs=0.03)

    def test_sides_of_different_width(self):
        samples = np.abs(np.random.default_rng(1).normal(0, 1, 400_000))
        samples[:100_000] *= -2  # as often as its width asks for, the curve would meet in the middle at 2 : 1
        found = fit(samples[None], zeros_are_right=False)
        assert found.left == pytest.approx([2], rel=0.02)
        assert found.right == pytest.approx([1], rel=0.02)
        assert found.mean[0] < 0

    def test_zeros(self):
        samples = np.array([[-1.0, 0, 0, 0, 2]])
        assert fit(samples, zeros_are_right=False).right == [2]
        assert fit(samples, zeros_are_right=True).right == [1]

    def test_contrast_of_an_edge(self):
        plane = np.zeros((9, 20))
        plane[:, 10:] = 100
        contrast = normalized(plane, cv2.BORDER_REPLICATE, 1.0)
        assert (contrast[:, :7] == 0).all()
        assert (contrast[:, 13:] == 0).all()
        weight = cv2.getGaussianKernel(7, 7 / 6)[:3].sum()  # of the three columns on the other side
        deviation = 100 * (weight * (1 - weight)) ** 0.5
        assert contrast[4, 10] == pytest.approx(100 * weight / (deviation + 1))


class TestSample:
    @pytest.mark.parametrize("count", [1, 24, 25, 26, 50, 51, 333])
    def test_it_is_evenly_spread_whether_the_length_is_known_or_not(self, count):
        pixels = np.zeros((8, 8, 3), np.uint8)
        samples, scored = [], []
        for known in (count, 0):
            meter = NaturalnessMeter(known)
            wanted = [index for index in range(count) if meter.wants(index) and (meter.feed(index, pixels) or True)]
            samples.append(list(meter.scores))
            scored.append(wanted)
        assert samples[0] == samples[1] == scored[0]
        assert min(count, SAMPLE_SIZE // 2 + 1) <= len(samples[0]) <= SAMPLE_SIZE
        assert set(np.diff(samples[0])) <= {samples[0][-1] // max(1, len(samples[0]) - 1)}

    def test_a_header_that_promises_too_little(self):
        meter = NaturalnessMeter(10)
        for index in range(60):
            if meter.wants(index):
                meter.feed(index, np.zeros((8, 8, 3), np.uint8))
        assert list(meter.scores) == list(range(0, 60, 4))

    def test_images_outside_the_sample_are_not_read(self, clip, tmp_path):
        for image in clip.iterdir():
            (tmp_path / image.name).write_bytes(image.read_bytes() if int(image.stem) % 2 == 0 else b"no image")
        assert judge(tmp_path, reporter=SILENT).scores.sampled_frame_count == 14


class TestCommand:
    def test_a_row_for_each(self, clip, capsys):
        image = clip / "26.png"
        assert cli.run(["metrics", "--no-reference", str(clip), str(image)]) == 0
        header, of_clip, of_image, warning = capsys.readouterr().out.splitlines()
        assert header.split() == ["NIQE", "BRISQUE", "sampled", "frames"]
        assert of_clip.split()[2:] == ["14", "27", str(clip)]
        assert of_image.split()[2:] == ["1", "1", str(image)]
        picture = read_image(image).astype(float)
        assert [float(cell) for cell in of_image.split()[:2]] == pytest.approx(
            [niqe(picture), brisque(picture)], abs=0.006
        )
        assert "less is better" in warning
        assert "over-sharpened" in warning

    def test_json_and_csv_say_the_same(self, clip, capsys, tmp_path):
        table = tmp_path / "scores.csv"
        assert cli.run(["metrics", "--no-reference", str(clip), "--json", "--csv", str(table)]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert "over-sharpened" in found["warning"]
        assert found["psnr_y"] is None
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert [int(row["frame"]) for row in rows if row["niqe"]] == list(range(0, 27, 2))
        for name in ("niqe", "brisque"):
            assert np.mean([float(row[name]) for row in rows if row[name]]) == pytest.approx(found[name])

    def test_beside_a_reference(self, clip, capsys):
        image = str(clip / "05.png")
        assert cli.run(["metrics", str(clip / "00.png"), image, "--no-vmaf", "--naturalness", "--json"]) == 0
        (beside,) = json.loads(capsys.readouterr().out)
        assert cli.run(["metrics", "--no-reference", image, "--json"]) == 0
        (alone,) = json.loads(capsys.readouterr().out)
        assert beside["mse_rgb"] == pytest.approx(5**2, rel=0.05)
        assert [beside[name] for name in ("niqe", "brisque")] == [alone[name] for name in ("niqe", "brisque")]
        assert cli.run(["metrics", image, image, "--no-vmaf", "--naturalness"]) == 0
        header, _, warning = capsys.readouterr().out.splitlines()
        assert "MSE Y  NIQE BRISQUE sampled frames" in header
        assert "over-sharpened" in warning

    def test_one_clip_alone_is_refused_with_the_way_out(self, clip, capsys):
        assert cli.run(["metrics", str(clip)]) == 2
        assert "--no-reference" in capsys.readouterr().err

    def test_a_missing_file_is_refused_first(self, clip, capsys):
        assert cli.run(["metrics", "--no-reference", str(clip), "missing.mp4"]) == 3
        assert "missing.mp4" in capsys.readouterr().err

    def test_a_video_and_deep_colours(self, scene, tmp_path):
        path = tmp_path / "deep.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=Fraction(25))
            stream.height, stream.width, stream.pix_fmt = *scene.shape[:2], "yuv444p10le"
            frame = av.VideoFrame.from_ndarray(scene.astype(np.uint16) * 257, format="rgb48le")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        scores = judge(path, reporter=SILENT).scores
        assert scores.niqe == pytest.approx(niqe(scene.astype(float)), abs=0.1)
        assert scores.brisque == pytest.approx(brisque(scene.astype(float)), abs=1)

    def test_it_is_said_why_there_is_none(self, tmp_path):
        write_png(tmp_path / "clip" / "0.png", np.full((64, 64, 3), 50, np.uint8))
        said = io.StringIO()
        measured = judge(tmp_path / "clip", reporter=Reporter(Lines(said)))
        assert (measured.scores.niqe, measured.scores.brisque, measured.scores.sampled_frame_count) == (None, None, 0)
        assert "no NIQE" in said.getvalue()
        assert "no BRISQUE" in said.getvalue()


class TestPlot:
    def test_sampled_frames_are_joined_by_a_line(self):
        frames = [FrameScores(niqe=4.0 if index % 4 == 0 else None) for index in range(41)]
        blue = (draw_curves([("clip", frames)]) == (0, 114, 178)).all(axis=2)
        longest = max(np.flatnonzero(row).size for row in blue)
        assert longest > 1000

    def test_a_picture_is_written_without_a_reference(self, clip, tmp_path):
        plot = tmp_path / "plot.png"
        measure(None, [clip], plot_file=plot, reporter=SILENT)
        assert read_image(plot).shape[0] < 700  # two panels

    def test_the_legend_has_names_as_short_as_tells_them_apart(self):
        assert short_names([Path("a/b/one.mp4"), Path("a/c/two.mp4")]) == ["one.mp4", "two.mp4"]
        assert short_names([Path("a/b/x/one.mp4"), Path("a/c/x/one.mp4")]) == ["b/x/one.mp4", "c/x/one.mp4"]
        assert short_names([Path("one.mp4"), Path("one.mp4")]) == ["one.mp4", "one.mp4"]

    def test_the_legend_has_the_means(self):
        """Its rows differ where the means differ, and where the name does."""

        def legend(name, value):
            return draw_curves([(name, [FrameScores(niqe=value)] * 2)])[:90]

        names, means = np.s_[:, :640], np.s_[:, 640:]
        assert not (legend("one", 4)[means] == legend("one", 5)[means]).all()
        assert (legend("one", 4)[names] == legend("one", 5)[names]).all()
        assert not (legend("one", 4)[names] == legend("two", 4)[names]).all()


def test_the_half_that_niqe_takes_is_matlabs():
    """The kernel is widened, so that a checkerboard becomes grey."""
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 100.0)[..., None]
    np.testing.assert_allclose(antialiased_bicubic(board, (16, 16))[3:-3, 3:-3], 50, atol=1)
