"""Small files that went wrong: what the picture's side data, container or image format says. Each is run to its end."""

import av
import cv2
import pytest

from tests.support.enhancing import enhance

# Name: size of the output, what the report says. The size None: refused with exit code 3.
ROWS = {
    "pngv.mov": ((256, 192), "colour profile"),
    "dv8.mp4": ((256, 192), "Dolby Vision metadata is left out"),
    "hdr10plus.mkv": ((256, 192), "HDR10+"),
    "crop.mkv": ((352, 192), "crops the picture"),
    "clap.mov": ((256, 160), "crops the picture"),
    "grid.avif": (None, "made of tiles"),
    "sbs.mkv": ((256, 192), "stereo 3D"),
    "sbs.mp4": ((256, 192), "stereo 3D"),
    "exif6.png": ((192, 256), ""),
    "p3.png": ((256, 192), "colour profile"),
    "alpha.png": ((256, 192), "transparency"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_went_wrong(faults, tmp_path, name):
    size, says = ROWS[name]
    result = enhance(faults / name, tmp_path / "out.mkv")
    if size is None:
        assert result.code == 3
        assert says in result.reason
        assert not result.output.exists()
        return
    assert result.code == 0, result.said
    assert says in result.notes
    with av.open(str(result.output)) as container:
        frames = list(container.decode(video=0))
    assert {(frame.width, frame.height) for frame in frames} == {size}
    assert len(frames) == result.clip["frame_count"]


def test_a_turned_png_is_upright_as_an_image(faults, tmp_path):
    result = enhance(faults / "exif6.png", tmp_path / "out.png")
    assert result.code == 0, result.said
    turned, source = cv2.imread(str(result.output)), cv2.imread(str(faults / "exif6.png"), cv2.IMREAD_COLOR)
    assert turned.shape == (256, 192, 3)
    small = cv2.resize(turned, (48, 64), interpolation=cv2.INTER_AREA)
    assert abs(small.astype(int) - source).mean() < 4
