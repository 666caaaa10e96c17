"""TensorFlow's GraphDef, as far as OpenCV's super-resolution networks need it, without TensorFlow.

A message of Protocol Buffers is a row of fields. A field is a number with a wire type, then a varint, 8 bytes, a length
and so many bytes, or 4 bytes. Of a graph, field 1 is a node; of a node, 1 is the name, 2 the operation, 3 an input and
5 an attribute; of an attribute, 1 is the key and 2 the value.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vsr_pipeline.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OLD_KEY, _NEW_KEY = b"block_size", b"blocksize"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph.

    Attributes:
        name: what other nodes call it.
        op: TensorFlow's name of the operation, such as `Conv2D`.
        inputs: names of the nodes whose results it takes.
        block_size: of a `DepthToSpace`, else None.
        shape: of a `Const`, else None.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    block_size: int | None
    shape: tuple[int, ...] | None


def parse_nodes(graph: bytes) -> tuple[Node, ...]:
    """Return the nodes of a graph in the file's order.

    Raises:
        ModelError: the bytes are no GraphDef.
    """
    try:
        nodes = tuple(_parse_node(value) for number, value in _fields(graph) if number == 1)
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(f"no TensorFlow graph: {error or 'it is damaged'}") from error
    if not nodes:
        raise ModelError("no TensorFlow graph: it has no nodes")
    return nodes


def with_opencvs_names(graph: bytes) -> bytes:
    """Return the graph with the attribute of `DepthToSpace` called as OpenCV wants it: `blocksize`.

    All other bytes stay as they are, but for the lengths of the messages around the attribute.

    Raises:
        ModelError: the bytes are no GraphDef.
    """
    try:
        return b"".join(
            _message(1, _renamed_node(value)) if number == 1 and isinstance(value, bytes) else raw
            for number, value, raw in _raw_fields(graph)
        )
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(f"no TensorFlow graph: {error or 'it is damaged'}") from error


def _renamed_node(node: bytes) -> bytes:
    if (2, b"DepthToSpace") not in _fields(node):
        return node
    return b"".join(
        _message(5, _renamed_attribute(value)) if number == 5 and isinstance(value, bytes) else raw
        for number, value, raw in _raw_fields(node)
    )


def _renamed_attribute(attribute: bytes) -> bytes:
    return b"".join(
        _message(1, _NEW_KEY) if (number, value) == (1, _OLD_KEY) else raw
        for number, value, raw in _raw_fields(attribute)
    )


def _parse_node(node: bytes | int) -> Node:
    name, op, inputs, attributes = b"", b"", [], {}
    for number, value in _fields(node):
        if number == 1:
            name = _checked(value)
        elif number == 2:
            op = _checked(value)
        elif number == 3:
            inputs.append(_checked(value).decode())
        elif number == 5:
            pair = dict(_fields(value))
            attributes[pair.get(1)] = pair.get(2, b"")
    block = dict(_fields(attributes.get(_OLD_KEY, attributes.get(_NEW_KEY, b"")))).get(3)
    return Node(
        name.decode(),
        op.decode(),
        tuple(inputs),
        block if isinstance(block, int) else None,
        _shape(attributes[b"value"]) if op == b"Const" and b"value" in attributes else None,
    )


def _shape(value: bytes | int) -> tuple[int, ...]:
    """Return the shape of a constant: AttrValue 8 is a tensor, of it 2 is the shape, of that 2 a dimension's size 1."""
    tensor = dict(_fields(value)).get(8, b"")
    shape = dict(_fields(tensor)).get(2, b"")
    sizes = [dict(_fields(size)).get(1, 0) for number, size in _fields(shape) if number == 2]
    return tuple(size if isinstance(size, int) else 0 for size in sizes)


def _checked(value: bytes | int) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a field has another type")
    return value


def _fields(message: bytes | int) -> Iterator[tuple[int, bytes | int]]:
    return ((number, value) for number, value, _ in _raw_fields(_checked(message)))


def _raw_fields(message: bytes) -> Iterator[tuple[int, bytes | int, bytes]]:
    """Yield the number, the value and all bytes of each field."""
    place = 0
    while place < len(message):
        start = place
        key, place = _varint(message, place)
        number, wire_type = key >> 3, key & 7
        value: bytes | int
        if wire_type == _VARINT:
            value, place = _varint(message, place)
        else:
            if wire_type == _BYTES:
                length, place = _varint(message, place)
            elif wire_type in (_FIXED64, _FIXED32):
                length = 8 if wire_type == _FIXED64 else 4
            else:
                raise ValueError(f"wire type {wire_type} at byte {start}")
            value = message[place : place + length]
            place += length
            if place > len(message):
                raise ValueError(f"a field at byte {start} is longer than its message")
        yield number, value, message[start:place]


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError(f"a number at byte {place} has no end")


def _message(number: int, content: bytes) -> bytes:
    """Return a field that holds a message."""
    header = bytearray([number << 3 | _BYTES])
    length = len(content)
    while length >= 0x80:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header) + content
