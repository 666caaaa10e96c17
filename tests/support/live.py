"""A camera made of software: frames that carry their number as a bar code, over HTTP or RTSP, at 30 frames a second."""

import re
import socket
import threading
import time
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np

WIDTH, HEIGHT = 128, 64
RATE = 30
_BITS = 16


def bar_code(number, *, shape=(HEIGHT, WIDTH)):
    """A frame whose upper half has the number's bits as bars, and whose lower half has the opposite."""
    bits = np.array([number >> bit & 1 for bit in range(_BITS)], np.uint8)
    upper = np.where(bits, 220, 30).astype(np.uint8).repeat(shape[1] // _BITS)
    frame = np.empty((*shape, 3), np.uint8)
    frame[: shape[0] // 2] = upper[None, :, None]
    frame[shape[0] // 2 :] = (250 - upper)[None, :, None]
    return frame


def number_in(luma):
    """The number in a frame of any size (its luma, limited range or full); None: it cannot be read."""
    height, width = luma.shape
    columns = ((np.arange(_BITS) + 0.5) * width / _BITS).astype(int)
    upper, lower = luma[height // 4, columns].astype(int), luma[3 * height // 4, columns].astype(int)
    if (abs(upper - lower) < 60).any():
        return None
    return int(((upper > lower) << np.arange(_BITS)).sum())


class Encoder:
    """x264 without a delay; gives the packets of each frame."""

    def __init__(self, container):
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "crf": "18"}
        self.stream = container.add_stream("libx264", rate=RATE, options=options)
        self.stream.width, self.stream.height, self.stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        self._start = 0

    def packets(self, number):
        frame = av.VideoFrame.from_ndarray(bar_code(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        return self.stream.encode(frame)


class CameraServer:
    """Sends numbered frames to one client after the other; `sent` says when each number was made, monotonic.

    While `is_silent`, nothing is sent, and the connection stays; `hang_up` ends it, and `is_closed` refuses new ones.
    """

    def __init__(self, protocol="http"):
        self._protocol = protocol
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self.port = self._listening.getsockname()[1]
        self.sent = {}
        self.requests = []
        self.is_silent = self.is_closed = False
        self._client = None
        self._stop = threading.Event()
        self._next = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self):
        return f"{self._protocol}://127.0.0.1:{self.port}/camera"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self.hang_up()
        self._listening.close()
        self._thread.join(5)

    def hang_up(self):
        if self._client is not None:
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def _serve(self):
        while not self._stop.is_set():
            try:
                client, _ = self._listening.accept()
            except (TimeoutError, OSError):
                continue
            with client, suppress(OSError, av.FFmpegError):
                if self.is_closed:
                    continue
                client.settimeout(5)
                self._client = client
                (self._http if self._protocol == "http" else self._rtsp)(client)

    def _frames(self):
        """Numbers, each when it is due."""
        due = time.monotonic()
        while not self._stop.is_set():
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            if self.is_silent:
                due = max(due, time.monotonic())
                continue
            self.sent[self._next] = time.monotonic()
            yield self._next
            self._next += 1

    def _http(self, client):
        self.requests.append(client.recv(4096).decode())
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
        with av.open(_Pipe(client), "w", format="mpegts", options={"flush_packets": "1"}) as container:
            encoder = Encoder(container)
            for number in self._frames():
                container.mux(encoder.packets(number))

    def _rtsp(self, client):
        """RTSP as far as ffmpeg needs it, and RTP in the same connection (RFC 2326, 10.12; RFC 6184, 5.6)."""
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=bars\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        sdp += "a=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
        while True:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := client.recv(4096)):
                    return
                request += data
            text = request.decode()
            self.requests.append(text)
            method, sequence = text.split()[0], re.search(r"CSeq: *(\d+)", text)[1]
            more = {"OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n", "PLAY": "Session: 1\r\n"}
            more["SETUP"] = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            more["DESCRIBE"] = f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n"
            body = sdp if method == "DESCRIBE" else ""
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{more.get(method, '')}\r\n{body}".encode())
            if method == "PLAY":
                break
        with av.open(_Nowhere(), "w", format="h264") as container:
            encoder = Encoder(container)
            sequence = 0
            for number in self._frames():
                annex_b = b"".join(bytes(packet) for packet in encoder.packets(number))
                units = [unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", annex_b) if unit.strip(b"\0")]
                for index, unit in enumerate(units):
                    is_last = index == len(units) - 1
                    header = bytes([0x80, 96 | (0x80 if is_last else 0)]) + sequence.to_bytes(2, "big")
                    header += (number * 90_000 // RATE).to_bytes(4, "big") + bytes(4)
                    packet = header + unit
                    client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                    sequence = (sequence + 1) % 65_536


class _Pipe:
    """A socket as PyAV wants it."""

    name = ""

    def __init__(self, client):
        self._client = client

    def write(self, data):
        self._client.sendall(data)
        return len(data)


class _Nowhere:
    name = ""

    def write(self, data):
        return len(data)


def y4m_frames(stream):
    """Every frame of a y4m stream as it comes: its luma (H, W) and when it was read, monotonic."""
    header = stream.readline().decode()
    width, height = (int(re.search(rf" {side}(\d+)", header)[1]) for side in "WH")
    size = width * height + 2 * (-(-width // 2) * -(-height // 2))
    while stream.readline() == b"FRAME\n":
        data = stream.read(size)
        if len(data) < size:
            return
        yield np.frombuffer(data, np.uint8, width * height).reshape(height, width), time.monotonic()
