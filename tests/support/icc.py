"""Small ICC profiles, made here: a wide RGB one, a grey one, and one of CMYK whose inks are all grey."""

import itertools
import struct

import numpy as np

_D50 = (0.9642, 1.0, 0.8249)
_P3 = {"rXYZ": (0.5151, 0.2412, -0.0011), "gXYZ": (0.2920, 0.6922, 0.0419), "bXYZ": (0.1571, 0.0666, 0.7841)}


def _xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def _gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(value * 256))


def _description(text):
    data = text.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(data)) + data + bytes(78)


def _profile(space, kind, connection, tags):
    tags = {"desc": _description("test"), "cprt": b"text\0\0\0\0none\0", "wtpt": _xyz(_D50)} | tags
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name.encode() + struct.pack(">II", place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    date = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    white = b"".join(struct.pack(">i", round(v * 65536)) for v in _D50)
    head = (
        struct.pack(">4x4sI4s4s4s", b"test", 0x02400000, kind, space, connection) + date + b"acsp" + bytes(28) + white
    )
    head += bytes(128 - 4 - len(head) + 4)
    whole = head[:128] + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def display_p3():
    """A profile with the colours of Display P3."""
    curves = dict.fromkeys(("rTRC", "gTRC", "bTRC"), _gamma(2.2))
    return _profile(b"RGB ", b"mntr", b"XYZ ", {name: _xyz(value) for name, value in _P3.items()} | curves)


def grey_gamma():
    """A profile of grey pixels."""
    return _profile(b"GRAY", b"mntr", b"XYZ ", {"kTRC": _gamma(1.8)})


def grey_inks():
    """A profile of CMYK pixels, all of whose inks are grey, and make a third darker."""
    corners = [100 * (1 - k) * (1 - (c + m + y) / 3) for c, m, y, k in itertools.product((0, 1), repeat=4)]
    lab = bytes(itertools.chain.from_iterable((round(2.55 * lightness), 128, 128) for lightness in corners))
    identity = bytes(range(256))
    matrix = b"".join(struct.pack(">i", v * 65536) for v in np.eye(3, dtype=int).ravel())
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * identity + lab + 3 * identity
    return _profile(b"CMYK", b"prtr", b"Lab ", {"A2B0": lut})
