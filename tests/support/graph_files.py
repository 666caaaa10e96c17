"""Writes TensorFlow graphs as EDSR's authors export them, with weights drawn at random: the real files are large."""

import struct

import numpy as np


def field(number, value):
    """One field of a message: bytes, text, a message, or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def node(name, op, *inputs, **attributes):
    """A node of a graph, as field 1."""
    content = field(1, name) + field(2, op) + b"".join(field(3, i) for i in inputs)
    for key, value in ({"T": field(6, 1)} | attributes).items():
        content += field(5, field(1, key) + field(2, value))
    return field(1, content)


def constant(name, array):
    array = np.asarray(array)
    kind = 3 if array.dtype == np.int32 else 1
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    tensor = field(1, kind) + field(2, shape) + field(4, array.tobytes())
    return node(name, "Const", value=field(8, tensor), dtype=field(6, kind))


def small_edsr(scale, *, channels=6, blocks=2, seed=0):
    """EDSR with few channels, which takes and gives values of some tens around zero."""
    random = np.random.RandomState(seed)
    constants, nodes = [], [node("IteratorGetNext", "Placeholder", dtype=field(6, 1))]
    ones = field(1, field(3, struct.pack("4B", 1, 1, 1, 1)))

    def conv(name, x, inputs, outputs):
        kernel = random.standard_normal((3, 3, inputs, outputs)) * 0.7 / np.sqrt(9 * inputs)
        constants.append(constant(f"{name}_f", kernel.astype(np.float32)))
        constants.append(constant(f"{name}_b", random.standard_normal(outputs).astype(np.float32)))
        strides = {"strides": ones, "padding": field(2, "SAME"), "data_format": field(2, "NHWC")}
        nodes.append(node(name, "Conv2D", x, f"{name}_f", **strides))
        nodes.append(node(f"{name}_add", "Add", name, f"{name}_b"))
        return f"{name}_add"

    def op(name, kind, *inputs, **attributes):
        nodes.append(node(name, kind, *inputs, **attributes))
        return name

    x = first = conv("first", "IteratorGetNext", 3, channels)
    for n in range(blocks):
        y = op(f"relu{n}", "Relu", conv(f"a{n}", x, channels, channels))
        constants.append(constant(f"share{n}", np.float32(0.1)))
        x = op(f"sum{n}", "Add", x, op(f"mul{n}", "Mul", conv(f"b{n}", y, channels, channels), f"share{n}"))
    x = op("long", "Add", conv("last", x, channels, channels), first)
    x = conv("enlarge", x, channels, 3 * scale**2)
    x = op("NHWC_output", "DepthToSpace", x, block_size=field(3, scale), data_format=field(2, "NHWC"))
    constants.append(constant("perm", np.array([0, 3, 1, 2], np.int32)))
    op("NCHW_output", "Transpose", x, "perm", Tperm=field(6, 3))
    return b"".join([*constants, *nodes])
