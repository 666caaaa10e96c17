"""Official mmedit configs: Python files, of which one number is read here, without executing them.

Sizes of the network come from the checkpoint, so only the generator's threshold of dynamic refinement matters:
`model = dict(generator=dict(type='RealBasicVSRNet', dynamic_refine_thres=255, ...))`. Values may be literals or names
of earlier assignments.
"""

import ast
from collections.abc import Mapping
from pathlib import Path

from vsr_pipeline.errors import ConfigError, InputError

_SIZES = {"mid_channels", "num_propagation_blocks", "num_cleaning_blocks", "num_blocks"}
_KNOWN = {"dynamic_refine_thres", "type", "spynet_pretrained", "is_fix_cleaning", "is_sequential_cleaning", *_SIZES}
_NETS = ("RealBasicVSRNet", "BasicVSRNet")
_OFFICIAL_DEFAULT = 255.0

_Values = Mapping[str, ast.expr]


def read_refine_threshold(path: Path) -> float | None:
    """Return the threshold of an official config, in levels of 255; None for BasicVSR, which does not clean.

    Raises:
        InputError: the file cannot be read.
        ConfigError: it is not Python, inherits the network from another file, computes what is read, or describes a
            network other than RealBasicVSR and BasicVSR.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path} is not Python: {error}") from error
    try:
        return _threshold(_assignments(tree))
    except _UnreadableError as error:
        where = f"{path}, line {error.line}" if error.line else str(path)
        raise ConfigError(f"{where}: {error}") from error


class _UnreadableError(Exception):
    def __init__(self, reason: str, node: ast.AST | None = None) -> None:
        super().__init__(reason)
        self.line = getattr(node, "lineno", None)


def _assignments(tree: ast.Module) -> _Values:
    values: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
        if not isinstance(statement, ast.Assign) or not isinstance(target, ast.Name):
            raise _UnreadableError("only assignments of values to names are read, nothing is executed", statement)
        if target.id in values:
            raise _UnreadableError(f"'{target.id}' is assigned twice", statement)
        values[target.id] = statement.value
    return values


def _threshold(values: _Values) -> float | None:
    inherits = "_base_" in values
    advice = "; settings of its _base_ are not followed: give the merged file (mmcv prints it)" if inherits else ""
    if "model" not in values:
        raise _UnreadableError(f"no 'model' is assigned{advice}")
    model = _entries(values["model"], values, "model")
    if "generator" not in model:
        raise _UnreadableError(f"'model' has no 'generator'{advice}")
    settings = _entries(model["generator"], values, "generator")
    net = _literal(settings["type"], values, "type") if "type" in settings else None
    if net not in _NETS:
        raise _UnreadableError(f"the generator's type is {net!r}, can be {', '.join(_NETS)}{advice}")
    if unknown := sorted(settings.keys() - _KNOWN):
        raise _UnreadableError(f"unknown setting '{unknown[0]}' of {net}, known are {', '.join(sorted(_KNOWN))}")
    if net == "BasicVSRNet":
        return None
    if "dynamic_refine_thres" not in settings:
        if inherits:
            raise _UnreadableError(f"the generator has no 'dynamic_refine_thres'{advice}")
        return _OFFICIAL_DEFAULT
    node = settings["dynamic_refine_thres"]
    value = _literal(node, values, "dynamic_refine_thres")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _UnreadableError(f"dynamic_refine_thres is {value!r}, has to be a number of at least 0", node)
    return float(value)


def _entries(node: ast.expr, values: _Values, what: str) -> dict[str, ast.expr]:
    """Return the entries of `dict(a=...)` or `{'a': ...}`, not evaluated."""
    node = _resolved(node, values)
    pairs: list[tuple[str | None, ast.expr]] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Dict):
        pairs = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
    entries = {name: value for name, value in pairs if isinstance(name, str)}
    if not pairs or len(entries) != len(pairs):
        raise _UnreadableError(f"'{what}' is not dict(name=value, ...) with plain, different names", node)
    return entries


def _literal(node: ast.expr, values: _Values, what: str) -> object:
    node = _resolved(node, values)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise _UnreadableError(f"'{what}' is computed: write the value, configs are not executed", node) from error


def _resolved(node: ast.expr, values: _Values) -> ast.expr:
    """Follow names to what was assigned to them."""
    for _ in range(len(values) + 1):
        if not isinstance(node, ast.Name):
            return node
        if node.id not in values:
            break
        node = values[node.id]
    raise _UnreadableError(f"'{ast.unparse(node)}' is not assigned in this file", node)
