"""Models over frames that come when they come: order, counts, levels, sources that are lost."""

import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from tests.support.live import CameraServer, Encoder, bar_code, number_in
from tests.support.networks import fill, save
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_in_memory
from vsr_pipeline.errors import InputError
from vsr_pipeline.live.capture import Capture
from vsr_pipeline.live.engine import Engine
from vsr_pipeline.live.levels import geometry_for, levels_for, live_settings, open_live_model
from vsr_pipeline.live.mailbox import Mailbox
from vsr_pipeline.live.meter import Meter
from vsr_pipeline.live.options import source_from
from vsr_pipeline.live.pictures import Converters
from vsr_pipeline.models.animesr import AnimeSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.runtime.progress import Reporter


def bars(path, count):
    with av.open(str(path), "w") as container:
        encoder = Encoder(container)
        for number in range(count):
            container.mux(encoder.packets(number))
        container.mux(encoder.stream.encode(None))
    return path


class Run:
    """Capture and engine, and what they gave."""

    def __init__(self, source, settings, *, no_drop=False, lookahead=2, views=(), input_width=None, slow=0.0):
        self.meter, self.shown, self.said = Meter(), [], []
        self.box = Mailbox(waits=no_drop)
        self.capture = Capture(
            source_from(str(source)), None, self.box, self.meter, no_drop=no_drop, say=self.said.append
        )
        self.capture.start()
        while self.box.peek(0.1) is None and not self.box.is_over:
            pass
        if self.capture.failure is not None:
            raise self.capture.failure
        settings = live_settings(settings, lookahead)
        spec = open_live_model(settings)
        geometry = geometry_for(self.capture.info, spec, settings, input_width)
        self.levels = levels_for(spec, settings, geometry, open_live_model)
        self.slow = slow
        self.engine = Engine(
            self.levels, settings, box=self.box, convert=Converters(self.capture.info), views=views,
            show=self._show, meter=self.meter, reporter=Reporter(), greys=not no_drop,
        )  # fmt: skip
        self.engine.start(0)

    def _show(self, shown):
        time.sleep(self.slow)
        self.shown.append(shown)

    def wait(self, seconds=60):
        end = time.monotonic() + seconds
        while not self.engine.is_over and time.monotonic() < end:
            time.sleep(0.02)
        assert self.engine.is_over
        assert self.engine.failure is None, self.engine.failure
        return self

    def stop(self):
        self.capture.stop()
        self.engine.stop(10)
        if self.box.take(0) is not None:
            self.meter.dropped("end")
        assert self.engine.failure is None, self.engine.failure

    @property
    def numbers(self):
        return [shown.number for shown in self.shown if not shown.is_stalled]


def tiny_recurrent(path):
    save(fill(RealBasicVSRNet(8, 1, 1), 0.05), path)
    return UpscaleConfig(checkpoint=path, precision="fp32", convolutions="direct", device="cpu")


def tiny_animesr(path):
    torch.save(fill(AnimeSRNet(channels=8, num_blocks=(1, 1, 1)), 0.1).state_dict(), path)
    return UpscaleConfig(checkpoint=path, precision="fp32", device="cpu")


def test_a_model_with_one_frame_of_delay_gives_every_frame_in_order(tmp_path):
    run = Run(bars(tmp_path / "a.mkv", 6), tiny_animesr(tmp_path / "tiny.pth"), no_drop=True).wait()
    assert run.numbers == list(range(6))
    assert run.levels[0].spec.context.lookahead == 1
    assert {shown.picture.shape for shown in run.shown} == {(256, 512, 3)}
    assert run.meter.total(1).dropped == {}


def test_a_recurrent_model_gives_every_frame_and_what_a_clip_with_the_same_windows_does(tmp_path):
    settings = tiny_recurrent(tmp_path / "tiny.pth")
    source = bars(tmp_path / "a.mkv", 4)
    run = Run(source, settings, no_drop=True, lookahead=1).wait()
    assert run.numbers == list(range(4))
    assert run.levels[0].spec.context.lookahead == 1
    spec = open_live_model(live_settings(settings, 1))
    convert = Converters(run.capture.info)
    frames = [convert(captured, (128, 64)) for captured in captured_of(source)]
    upscaler = spec.variants[0].build()
    decision = decide_in_memory(upscaler, spec.context, frames[:1], 4)
    whole = enhance_in_memory(upscaler, spec.context, frames, decision, 4)
    for live, expected in list(zip(run.shown, whole, strict=True))[:-1]:  # the last one's future is itself again
        assert np.array_equal(live.views[-1], expected)


def captured_of(path):
    box = Mailbox(waits=True)
    capture = Capture(source_from(str(path)), None, box, Meter(), no_drop=True, say=print)
    capture.start()
    captured = []
    while (one := box.take()) is not None:
        captured.append(one)
    return captured


def test_views_show_the_frame_as_captured_and_what_the_model_saw(tmp_path):
    source = bars(tmp_path / "a.mkv", 3)
    run = Run(
        source, UpscaleConfig(model="nearest", scale=2), no_drop=True, views=("original", "bicubic"), input_width=64
    ).wait()
    assert run.levels[0].geometry.reduced_size == (64, 32)
    for number, shown in enumerate(run.shown):
        assert [view.shape for view in shown.views] == [(128, 256, 3)] * 3
        assert [number_in(view[..., 1]) for view in shown.views] == [number] * 3
        assert shown.picture.shape == (128, 768, 3)
        assert shown.time == pytest.approx(Fraction(number, 30), abs=0.0011)


def test_what_is_dropped_and_what_is_seen_is_what_came_in(tmp_path):
    run = Run(bars(tmp_path / "a.mkv", 40), UpscaleConfig(model="nearest", scale=2), slow=0.1).wait()
    total = run.meter.total(1)
    seen = [number_in(shown.views[-1][..., 1]) for shown in run.shown]
    assert seen == run.numbers == sorted(set(seen))
    assert total.frames_in == 40 == len(seen) + total.dropped["model"]
    assert total.dropped["model"] > 10
    assert seen[-1] == 39  # the newest one wins


def test_levels_change_without_a_break_and_the_size_stays(tmp_path):
    settings = UpscaleConfig(model="fsrcnn-x2")
    run = Run(bars(tmp_path / "a.mkv", 45), settings)
    for level in (4, 2, 0):
        time.sleep(0.3)
        run.engine.go_to(level)
    run.wait()
    assert [level.name for level in run.levels] == [
        "fsrcnn-x2 at 128x64",
        "fsrcnn-x2 at 96x48",
        "fsrcnn-x2 at 64x32",
        "fsrcnn-small-x2 at 64x32",
        "bicubic at 128x64",
    ]
    seen = [number_in(shown.views[-1][..., 1]) for shown in run.shown]
    assert seen == run.numbers == sorted(set(seen))
    assert {shown.picture.shape for shown in run.shown} == {(128, 256, 3)}
    total = run.meter.total(1)
    assert total.frames_in == len(seen) + sum(total.dropped.values())


@pytest.mark.parametrize("protocol", ["http", "rtsp"])
def test_a_camera_that_falls_silent_and_one_that_hangs_up_come_back(protocol):
    with CameraServer(protocol) as camera:
        run = Run(camera.url, UpscaleConfig(model="nearest", scale=2))
        until(lambda: len(run.numbers) > 20)
        camera.is_silent = True
        until(lambda: run.shown[-1].is_stalled)
        grey = run.shown[-1].views[0]
        assert (grey[..., 0] == grey[..., 1]).all()
        assert grey.max() < 130
        last = next(shown for shown in reversed(run.shown) if not shown.is_stalled)
        assert number_in(grey[..., 0]) == number_in(last.views[0][..., 1])
        camera.is_silent = False
        until(lambda: not run.shown[-1].is_stalled)
        camera.hang_up()
        until(lambda: any("is back" in text for text in run.said))
        count = len(run.numbers)
        until(lambda: len(run.numbers) > count + 10)
        run.stop()
    seen = [number_in(shown.views[-1][..., 1]) for shown in run.shown if not shown.is_stalled]
    assert None not in seen
    assert seen == sorted(set(seen))
    times = [shown.time for shown in run.shown if not shown.is_stalled]
    assert times == sorted(set(times))
    total = run.meter.total(1)
    assert total.frames_in == len(seen) + sum(total.dropped.values())
    assert any("trying again in 0.5 s" in text for text in run.said)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_an_address_that_is_wrong_from_the_start_is_refused_without_its_password():
    with CameraServer() as camera:
        port = camera.port
    with pytest.raises(
        InputError, match=rf"cannot open http://127.0.0.1:{port}/a\?\.\.\.: Connection refused"
    ) as caught:
        Run(f"http://user:geheim@127.0.0.1:{port}/a?token=geheim", UpscaleConfig(model="nearest"))
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_stream_that_names_files_reads_none(tmp_path):
    """A playlist is no stream here: what a server says must not make us open other addresses."""
    listening = CameraServer()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{(tmp_path / 'a.mkv').as_uri()}\n#EXT-X-ENDLIST\n"

    def serve():
        listening._listening.settimeout(20)
        client, _ = listening._listening.accept()
        with client:
            client.recv(4096)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nContent-Length: {len(playlist)}"
            client.sendall(f"{head}\r\n\r\n{playlist}".encode())

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(InputError, match="cannot open http://"):
        Run(f"http://127.0.0.1:{listening.port}/list.m3u8", UpscaleConfig(model="nearest"))
    listening._listening.close()


def test_a_file_of_which_nothing_can_be_shown(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"no video at all")
    with pytest.raises(InputError, match="not a video file"):
        Run(tmp_path / "a.mkv", UpscaleConfig(model="nearest"))
    assert number_in(bar_code(3)[..., 0]) == 3
