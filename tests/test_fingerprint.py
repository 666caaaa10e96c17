"""A job is continued only with the source, settings, weights and program that it was begun with."""

import json
import os
import threading
from pathlib import Path

import pytest

from vsr_pipeline import __version__
from vsr_pipeline.config import LATER, MEANS, Config
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.fingerprint import JobSource, differences, fingerprint_of
from vsr_pipeline.runtime.files import FileIdentity

WEIGHTS = {"weights_sha256": "a" * 64, "precision": "fp32", "device": "cpu"}


def write(path, data, *, modified_ns=None):
    path.write_bytes(data)
    if modified_ns is not None:
        os.utime(path, ns=(modified_ns, modified_ns))
    return path


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "clip.mp4", b"picture", modified_ns=10**18)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        write(folder / f"{index}.png", b"picture %d" % index, modified_ns=10**18 + index)
    return folder


def identity_of(path):
    return JobSource.of(path).identity


def is_same(identity, path):
    """As a job decides: by size and time, and where these differ by the content."""
    return JobSource(path, identity).is_untouched() or identity_of(path).sha256 == identity.sha256


def test_size_and_time_are_enough_to_know_a_source(clip):
    identity = identity_of(clip)
    assert is_same(identity, clip)
    # Nothing but reading it could tell this one from the other.
    assert is_same(identity, write(clip, b"PICTURE", modified_ns=identity.modified_ns))
    assert not is_same(identity, write(clip, b"longer picture", modified_ns=identity.modified_ns))


def test_a_touched_source_with_the_same_content_is_the_same(clip):
    identity = identity_of(clip)
    os.utime(clip)
    assert is_same(identity, clip)
    assert identity_of(clip).modified_ns != identity.modified_ns
    old, new = (fingerprint_of(i, Config(), WEIGHTS) for i in (identity, identity_of(clip)))
    assert old != new
    assert differences(old, new) == ()


def test_other_content_of_equal_size_is_another_source(clip):
    identity = identity_of(clip)
    write(clip, b"PICTURE", modified_ns=10**18 + 1)
    assert not is_same(identity, clip)
    old, new = (fingerprint_of(i, Config(), WEIGHTS) for i in (identity, identity_of(clip)))
    names = [difference.partition(":")[0] for difference in differences(old, new)]
    assert names == ["source.sha256", "source.modified_ns"]


def test_a_source_can_move(clip, tmp_path):
    identity = identity_of(clip)
    moved = clip.rename(tmp_path / "other name.mp4")
    assert is_same(identity, moved)
    old, new = (fingerprint_of(i, Config(), WEIGHTS) for i in (identity, identity_of(moved)))
    assert old == new


def test_an_identity_comes_back_from_its_fingerprint(clip):
    identity = identity_of(clip)
    assert JobSource.recorded(clip, fingerprint_of(identity, Config(), WEIGHTS)) == JobSource(clip, identity)


def test_a_folder_is_its_images(folder):
    identity = identity_of(folder)
    assert is_same(identity, folder)
    (folder / "notes.txt").write_text("not a frame")
    for path in folder.iterdir():
        os.utime(path)
    assert is_same(identity, folder)
    assert identity_of(folder).sha256 == identity.sha256


@pytest.mark.parametrize("change", ["content", "name", "order", "one less", "one more"])
def test_any_change_of_a_folder_is_seen(folder, change):
    identity = identity_of(folder)
    if change == "content":
        write(folder / "0.png", b"picture X", modified_ns=10**18 - 5)
    elif change == "name":
        (folder / "0.png").rename(folder / "00.png")
    elif change == "order":
        (folder / "0.png").rename(folder / "kept")
        (folder / "1.png").rename(folder / "0.png")
        (folder / "kept").rename(folder / "1.png")
    elif change == "one less":
        (folder / "2.png").unlink()
    else:
        write(folder / "3.png", b"")
    assert not is_same(identity, folder)
    assert identity_of(folder).sha256 != identity.sha256


def test_a_source_that_is_still_being_copied_is_refused(clip):
    stop = threading.Event()

    def copy():
        with clip.open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b"more")

    with clip.open("ab") as file:
        file.truncate(100 * 1024**2)
    copying = threading.Thread(target=copy)
    copying.start()
    try:
        with pytest.raises(InputError, match=r"clip.mp4 changed while it was read: run again when it is complete"):
            identity_of(clip)
    finally:
        stop.set()
        copying.join()


def test_a_source_that_cannot_be_read_is_an_input_error(clip, tmp_path):
    identity = identity_of(clip)
    (tmp_path / "empty").mkdir()
    for read in (identity_of, lambda path: JobSource(path, identity).is_untouched()):
        with pytest.raises(InputError, match=r"cannot read .*missing"):
            read(tmp_path / "missing.mp4")
        with pytest.raises(InputError, match="no images"):
            read(tmp_path / "empty")


def test_every_setting_is_in_the_fingerprint(clip):
    names = fingerprint_of(identity_of(clip), Config(), WEIGHTS)
    for section, values in Config().model_dump().items():
        assert {f"{section}.{name}" for name in values} - MEANS - set(LATER) <= set(names)
    assert all(isinstance(value, str) for value in names.values())
    assert {"source.sha256", "source.size_bytes", "source.modified_ns", "program.version", "weights.sha256"} < set(
        names
    )


def test_jobs_that_older_versions_have_begun_are_continued():
    """The golden is what a version of before said of the defaults: another one would refuse its jobs."""
    source = FileIdentity(sha256="b" * 64, size_bytes=1, modified_ns=2)
    begun = json.loads((Path(__file__).parent / "golden" / "fingerprint.json").read_text())
    assert differences(begun | {"program.version": __version__}, fingerprint_of(source, Config(), WEIGHTS)) == ()


def test_settings_of_later_versions_count_where_they_are_not_at_their_defaults(clip):
    """A job that was begun before there were any is continued."""
    source = identity_of(clip)
    old = fingerprint_of(source, Config(), WEIGHTS)
    defaults = Config().model_dump()
    for name, default in LATER.items():
        section, field = name.split(".")
        assert defaults[section][field] == default
        assert name not in old
    changed = Config().override(refine="realesr-animevideov3:0.3", faces="detect", face_strength=0.4)
    assert set(differences(old, fingerprint_of(source, changed, WEIGHTS))) == {
        "upscale.refine: none -> realesr-animevideov3:0.3",
        "upscale.faces: none -> detect",
        "upscale.face_strength: none -> 0.4",
    }


def test_differences_name_field_old_and_new(clip):
    source = identity_of(clip)
    old = fingerprint_of(source, Config(), WEIGHTS)
    others = WEIGHTS | {"weights_sha256": "b", "precision": "bf16"}
    new = {**fingerprint_of(source, Config().override(max_seq_len=10, quality=60), others), "program.version": "99.0"}
    assert set(differences(old, new)) == {
        f"program.version: {__version__} -> 99.0",
        f"weights.sha256: {'a' * 64} -> b",
        "upscale.max_seq_len: 30 -> 10",
        "upscale.precision: fp32 -> bf16",
        "encode.quality: 72 -> 60",
    }
    assert differences(old, old) == ()


def test_two_names_for_the_same_choice_are_no_difference(clip):
    source = identity_of(clip)
    auto = fingerprint_of(source, Config(), WEIGHTS)
    named = Config().override(model="realbasicvsr-official", precision="fp32", device="cpu")
    assert differences(auto, fingerprint_of(source, named, WEIGHTS)) == ()
    # The names help to understand when the weights are others.
    other = differences(auto, fingerprint_of(source, named, WEIGHTS | {"weights_sha256": "b"}))
    assert "upscale.model: auto -> realbasicvsr-official" in other


def test_a_field_that_only_one_side_has_is_a_difference():
    assert differences({"a": "1"}, {"a": "1", "b": "2"}) == ("b: none -> 2",)
    assert differences({"a": "1", "b": "2"}, {"a": "1"}) == ("b: 2 -> none",)
