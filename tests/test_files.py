"""Outputs appear only when complete, and frames folders are read as people number them."""

import errno
import os
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vsr_pipeline.errors import InputError, OutputError, ResourceError
from vsr_pipeline.media.images import list_frames, png_size, read_image, write_png
from vsr_pipeline.runtime.files import FileIdentity, file_sha256, published, write_failure, write_text


def test_published_only_when_the_block_succeeds(tmp_path):
    target = tmp_path / "out" / "a.txt"
    write_text(target, "old")
    with pytest.raises(ValueError, match="stop"), published(target) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert target.read_text() == "old"
    with published(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


OPENED: list[tuple[str, int]] = []


def note_opened(event, arguments):
    if event == "open":
        OPENED.append((str(arguments[0]), arguments[2]))
        del OPENED[:-100]


def test_what_is_flushed_may_be_written_through_the_handle(tmp_path):
    """Windows refuses to flush a handle for reading only; a folder cannot be opened for writing."""
    sys.addaudithook(note_opened)
    write_text(tmp_path / "a.txt", "text")
    modes = {name: flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) for name, flags in OPENED}
    (temporary,) = {name for name in modes if ".a." in name}
    assert modes[temporary] == os.O_RDWR
    assert modes[str(tmp_path)] == os.O_RDONLY


def test_by_what_a_file_is_known_again(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"picture")
    known = replace(FileIdentity.of(path), sha256=file_sha256(path))
    assert known.size_bytes == 7
    assert (known.is_untouched(path), known.is_same_content(path)) == (True, True)
    os.utime(path, ns=(0, known.modified_ns + 1))  # as a copy has it
    assert (known.is_untouched(path), known.is_same_content(path)) == (False, True)
    path.write_bytes(b"PICTURE")
    assert (known.is_untouched(path), known.is_same_content(path)) == (False, False)
    os.utime(path, ns=(0, known.modified_ns))  # nothing but reading it can tell
    assert (known.is_untouched(path), known.is_same_content(path)) == (True, False)
    assert not FileIdentity.of(path).is_same_content(path), "it was never read"
    path.unlink()
    assert (known.is_untouched(path), known.is_same_content(path)) == (False, False)
    assert FileIdentity.of(tmp_path).size_bytes == 0
    assert not FileIdentity.of(tmp_path).is_same_content(tmp_path)
    with pytest.raises(FileNotFoundError):
        FileIdentity.of(path)


def test_an_output_is_not_private(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").write_text("text")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_write_failures_say_what_to_do(tmp_path):
    full = write_failure(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, ResourceError)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "below.txt", "text")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_every_sample(tmp_path, dtype):
    pixels = np.random.RandomState(0).randint(0, np.iinfo(dtype).max + 1, (7, 9, 3)).astype(dtype)
    write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
    assert png_size(tmp_path / "a.png") == (9, 7)


def test_a_truncated_png_is_not_complete(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((7, 9, 3), np.uint8))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-3])
    assert png_size(tmp_path / "a.png") is None
    assert png_size(tmp_path / "missing.png") is None


def test_frames_are_ordered_by_number(tmp_path):
    for name in ("img10.png", "img2.png", "img1.jpg", ".hidden.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    assert [p.name for p in list_frames(tmp_path)] == ["img1.jpg", "img2.png", "img10.png"]


def test_what_is_no_image_is_an_input_error(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not an image"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="no images"):
        list_frames(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        list_frames(tmp_path / "missing")
