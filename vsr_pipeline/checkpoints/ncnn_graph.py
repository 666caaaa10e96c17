"""ncnn's `.param` files: a network as text, one layer a line.

After a magic number and the numbers of layers and blobs, a line is: type, name, number of inputs, number of outputs,
the names of both, then `key=value` (a key of -23300 - n has a list: its length, then its values).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vsr_pipeline.errors import ModelError

_MAGIC = "7767517"
_LIST_KEY = -23300

Value = float | tuple[float, ...]

INPUT = -1
"""Stands for the network's input among the inputs of a layer."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that computes something.

    Attributes:
        kind: ncnn's name of its type, such as `Convolution`.
        inputs: the layers whose outputs it takes, as indices into the network's layers; -1 is the network's input.
        parameters: its settings by number; a list's number is that of ncnn's documentation, without the offset.
    """

    kind: str
    inputs: tuple[int, ...]
    parameters: tuple[tuple[int, Value], ...]

    def describe(self) -> str:
        """Return the layer in one line, for messages."""
        settings = " ".join(f"{key}={value}" for key, value in self.parameters)
        return (
            f"{self.kind} of {', '.join('the input' if n == INPUT else f'layer {n}' for n in self.inputs)} {settings}"
        )


def layer(kind: str, *inputs: int, **parameters: Value) -> Layer:
    """Make a layer; parameters are called `p0`, `p1` and so on."""
    return Layer(kind, inputs, tuple(sorted((int(key[1:]), value) for key, value in parameters.items())))


def parse_graph(text: str) -> tuple[Layer, ...]:
    """Read a network with one input, `data`, whose last layer gives `output`.

    `Split` only gives a blob several names in ncnn; such layers are followed and left out.

    Raises:
        ModelError: the text is no such network; the message names the line.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    if len(lines) < 3 or lines[0] != _MAGIC:
        raise ModelError(f"no ncnn network: the first line must be {_MAGIC}, found {lines[0][:40]!r}")
    layers: list[Layer] = []
    origins: dict[str, int] = {}
    outputs: tuple[str, ...] = ()
    for number, line in enumerate(lines[2:], start=3):
        try:
            kind, inputs, outputs, parameters = _parse_line(line)
            sources = tuple(origins[name] for name in inputs)
        except (ValueError, KeyError, IndexError) as error:
            raise ModelError(f"ncnn network, line {number} cannot be read ({error}): {line[:80]!r}") from error
        if any(name in origins for name in outputs):
            raise ModelError(f"ncnn network, line {number}: one of {outputs} is made twice")
        if kind == "Input":
            if origins or inputs or outputs != ("data",) or parameters:
                raise ModelError(f"ncnn network, line {number}: its only input must be `data`, first: {line[:80]!r}")
            origins["data"] = INPUT
        elif kind == "Split":
            if len(sources) != 1 or parameters:
                raise ModelError(f"ncnn network, line {number}: a Split has one input and no settings: {line[:80]!r}")
            origins |= dict.fromkeys(outputs, sources[0])
        else:
            if len(outputs) != 1:
                raise ModelError(f"ncnn network, line {number}: only a Split may have several outputs: {line[:80]!r}")
            origins[outputs[0]] = len(layers)
            layers.append(Layer(kind, sources, parameters))
    counts = f"{len(lines) - 2} {len(origins)}"
    if lines[1].split() != counts.split():
        raise ModelError(f"ncnn network: line 2 says {lines[1][:40]!r} layers and blobs, the file has {counts}")
    if outputs != ("output",):
        raise ModelError(f"ncnn network: the last layer must give `output`, not {', '.join(outputs)[:80]}")
    return tuple(layers)


def _parse_line(line: str) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[tuple[int, Value], ...]]:
    kind, _, *rest = line.split()
    num_inputs, num_outputs = int(rest[0]), int(rest[1])
    names = rest[2 : 2 + num_inputs + num_outputs]
    if min(num_inputs, num_outputs) < 0 or len(names) != num_inputs + num_outputs or any("=" in n for n in names):
        raise ValueError("the number of blobs is wrong")
    parameters = dict(_parse_settings(rest[2 + len(names) :]))
    if len(parameters) != len(rest) - 2 - len(names):
        raise ValueError("a setting is given twice")
    return kind, tuple(names[:num_inputs]), tuple(names[num_inputs:]), tuple(sorted(parameters.items()))


def _parse_settings(items: list[str]) -> Iterator[tuple[int, Value]]:
    for item in items:
        key, _, value = item.partition("=")
        number = int(key)
        if number > _LIST_KEY:
            yield number, float(value)
            continue
        length, *values = value.split(",")
        if int(length) != len(values):
            raise ValueError(f"{item}: wrong length of a list")
        yield _LIST_KEY - number, tuple(float(v) for v in values)
