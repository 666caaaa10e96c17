"""Make `docs/before-after.webp`, the moving picture of the README, out of a video of androidx/media.

    python data/make_readme_picture.py PATH/TO/sample_with_increasing_timestamps_320w_240h_5s.mp4

Fourteen frames of a street are cut out of the clip and enhanced by the default model, as `vsr run` does it; `vsr demo`
wipes between both. Run this in the project's environment (`make install`).
"""

import sys
import tempfile
from pathlib import Path

import av
import ffmpeg
from PIL import Image

from vsr_pipeline import cli
from vsr_pipeline.media.ffmpeg import file_url, input_file, run_ffmpeg

TARGET = Path(__file__).parent.parent / "docs" / "before-after.webp"
START_SECONDS = 2.6
FRAMES = 14
FRAME_RATE = 12  # of 60
CROP = {"x": 20, "y": 84, "width": 200, "height": 150}  # vans, people, a crossing
SHOWN_SIZE = (640, 480)  # of 800x600
QUALITY = 72


def main(source: Path) -> None:
    """Write the picture; minutes on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        before, after, wipe = (Path(folder) / name for name in ("before.mkv", "after.mkv", "wipe.mp4"))
        cut(source, before)
        for words in (
            ["run", str(before), "--output", str(after), "--model", "realbasicvsr-open-x4", "--quality", "90"],
            ["demo", str(before), str(after), "--output", str(wipe), "--repeats", "1", "--label-after", "vsr"],
        ):
            code = cli.run(words)
            if code:
                sys.exit(code)
        animate(wipe, TARGET)


def cut(source: Path, target: Path) -> None:
    """Write the frames that are shown, without loss."""
    small = (
        input_file(source)
        .video.filter("trim", start=START_SECONDS)
        .filter("setpts", "PTS-STARTPTS")
        .filter("fps", FRAME_RATE)
        .filter("crop", CROP["width"], CROP["height"], CROP["x"], CROP["y"])
    )
    run_ffmpeg(ffmpeg.output(small, file_url(target), vcodec="ffv1", vframes=FRAMES), what=f"cutting {source.name}")


def animate(source: Path, target: Path) -> None:
    """Write a video as an animated WebP that runs for ever."""
    with av.open(str(source)) as video:
        frames = [frame.to_image().resize(SHOWN_SIZE, Image.Resampling.LANCZOS) for frame in video.decode(video=0)]
        duration = round(1000 / float(video.streams.video[0].average_rate))
    frames[0].save(
        target, save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=QUALITY, method=6
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
