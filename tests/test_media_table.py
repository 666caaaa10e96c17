"""Every file of the shared media through `vsr run`, against `media_table` and against the file itself.

What comes out is looked at by a second reader (`second_reader`), not by the one that wrote it.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.enhancing import Enhanced, enhance
from tests.support.media_table import TABLE, Row
from tests.support.second_reader import Packet, Stream, chapters, header, luma, metadata, packets, shown
from tests.support.streams import container_for

MILLISECOND = Fraction(1, 1000)
THUMBNAIL = (48, 32)


def test_every_file_has_a_row(shared_data):
    media = shared_data / "data" / "media"
    assert {str(path.relative_to(media)) for path in media.glob("*/*")} == set(TABLE)


_SLOW = "large_phone/androidx__portrait_4k60.mp4"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly) if n == _SLOW else n for n in TABLE])
def test_what_comes_out(name, shared_data, tmp_path):
    row, source = TABLE[name], shared_data / "data" / "media" / name
    limit = () if row.whole else ("--max-frames", str(row.frames or 1))
    result = enhance(source, tmp_path / f"out{row.suffix}", "--scale", "2", *limit)
    assert result.code == row.exit_code, result.said
    if row.exit_code:
        assert not result.output.exists()
        assert [word for word in row.says if word not in result.reason] == [], result.reason
        return
    assert [word for word in row.says if word not in result.notes] == [], result.notes
    assert container_for(source) == row.suffix
    check_picture(row, result.output)
    shift = check_times(row, source, result.output)
    check_likeness(row, source, result.output)
    end = shown(source, row.frames + 1).times[-1] if not row.whole else Fraction(0)
    check_sound(row, source, result.output, shift, end)
    check_subtitles(row, source, result.output, shift, end)
    check_labels(row, source, result)


def check_picture(row: Row, output: Path) -> None:
    """The one video stream, as MediaInfo sees it."""
    found = header(output)
    assert len(found.pictures) == 1
    picture = found.pictures[0]
    assert (picture.size, picture.rotation) == (row.size, 0)
    assert picture.frames in (row.frames, 0)  # where Matroska does not say, MediaInfo does not count
    assert (picture.codec, picture.depth, picture.colour) == (row.codec, row.depth, row.colour)
    assert picture.scan in ("Progressive", None)
    assert len(shown(output).packets) == row.frames
    width, height = map(int, row.sar.split(":"))
    assert packets(output, "video")[0].sample_aspect_ratio == Fraction(width, height)


def check_times(row: Row, source: Path, output: Path) -> Fraction:
    """Every frame is shown when it was; returns how much earlier the output's clock is."""
    before = shown(source, None if row.whole else row.frames).times
    after = packets(output, "video")[0].times
    assert len(before) == len(after)
    shift = before[0] - after[0]
    # A part begins at 0; a whole film has the source's clock, unless that is a broadcast's.
    assert after[0] == 0 if not row.whole or row.shifted else shift == 0
    tolerance = MILLISECOND if row.suffix == ".mkv" else 0
    assert max(abs(a - b - shift) for a, b in zip(before, after, strict=True)) <= tolerance
    return shift


def check_likeness(row: Row, source: Path, output: Path) -> None:
    """Each frame shows what ffmpeg makes of the source's: same picture, same way up."""
    before, after = luma(source, *THUMBNAIL, row.frames), luma(output, *THUMBNAIL, row.frames, reduced=2)
    assert before.shape == after.shape
    assert np.abs(before - after).mean((1, 2)).max() < row.likeness


def check_sound(row: Row, source: Path, output: Path, shift: Fraction, end: Fraction) -> None:
    """The packets of the part that was enhanced, all of them, bit for bit, when they were."""
    before, after = packets(source, "audio"), packets(output, "audio")
    assert len(after) == row.audio == len(before)
    for whole, part in zip(before, after, strict=True):
        if row.whole:
            assert part.packets == whole.packets
        else:
            assert_is_the_part(whole, part, shift, end)


def assert_is_the_part(whole: Stream, part: Stream, shift: Fraction, end: Fraction) -> None:
    wanted = [packet for packet in whole.packets if shift <= packet.shown < end]
    # A packet that is heard on both sides of a bound may be in or out.
    assert abs(len(part.packets) - len(wanted)) <= 2
    if part.packets:
        begin = part.packets[0].shown + shift
        first = min(range(len(whole.packets)), key=lambda i: abs(whole.packets[i].shown - begin))
        assert part.digests == whole.digests[first : first + len(part.digests)]
        for a, b in zip(whole.packets[first:], part.packets, strict=False):
            assert abs(a.shown - b.shown - shift) <= MILLISECOND


def check_subtitles(row: Row, source: Path, output: Path, shift: Fraction, end: Fraction) -> None:
    """The packets that are shown while the enhanced part is."""
    before, after = packets(source, "subtitle"), packets(output, "subtitle")
    assert len(after) == row.subtitles == len(before)
    for whole, part in zip(before, after, strict=True):
        seen = [p for p in whole.packets if (p.shown < end and p.shown + p.duration > shift) or row.whole]
        assert text_of(part.packets) == text_of(seen)


def text_of(subtitles: Iterable[Packet]) -> list[str]:
    """What the subtitles say; mp4 fills the time between them with empty ones of two bytes."""
    return [packet.digest for packet in subtitles if packet.size > 2]


def check_labels(row: Row, source: Path, result: Enhanced) -> None:
    """Languages, titles, further tracks, chapters and tags."""
    before, after = header(source), header(result.output)
    assert len(after.others) == row.others
    assert len(chapters(result.output)) == row.chapters
    if before.sounds:  # MediaInfo does not know every container
        labels = [[(label.language, label.title) for label in h.sounds] for h in (before, after)]
        assert labels[0] == labels[1]
    tags = metadata(source), metadata(result.output)
    assert {name: tags[1].get(name) for name in row.tags} == {name: tags[0][name] for name in row.tags}
