"""Official mmedit configs: Python files that describe a network, read here without executing them.

Of such a file only the generator's settings matter: `model = dict(generator=dict(type='RealBasicVSRNet', ...))`.
Values may be literals or names of earlier assignments.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsr_pipeline.errors import ConfigError, InputError

_NETS: dict[str, Literal["realbasicvsr", "basicvsr"]] = {"RealBasicVSRNet": "realbasicvsr", "BasicVSRNet": "basicvsr"}

# The defaults of the official constructors.
_DEFAULTS = {
    "realbasicvsr": {
        "mid_channels": 64,
        "num_propagation_blocks": 20,
        "num_cleaning_blocks": 20,
        "dynamic_refine_thres": 255,
    },
    "basicvsr": {"mid_channels": 64, "num_blocks": 30},
}
# They matter for training or for memory, not for the result.
_IGNORED = {"type", "spynet_pretrained", "is_fix_cleaning", "is_sequential_cleaning"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MmeditConfig:
    """The network that an official config describes; what only RealBasicVSR has is None for BasicVSR.

    `refine_threshold` is in levels of 255; released configs say 255, which turns dynamic refinement off.
    """

    family: Literal["realbasicvsr", "basicvsr"]
    mid_channels: int
    num_propagation_blocks: int
    num_cleaning_blocks: int | None
    refine_threshold: float | None


def read_mmedit_config(path: Path) -> MmeditConfig:
    """Read the generator's settings from an official config without executing it.

    Raises:
        InputError: the file cannot be read.
        ConfigError: it is not Python, computes something, inherits the network from another file, or describes a
            network other than RealBasicVSR and BasicVSR.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path} is not Python: {error}") from error
    return _ConfigFile(path, tree).read_generator()


class _ConfigFile:
    """The top-level assignments of a config, and ways to look into them; every failure names file and line."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self._path = path
        self._values: dict[str, ast.expr] = {}
        for statement in tree.body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring
            if not (
                isinstance(statement, ast.Assign)
                and len(statement.targets) == 1
                and isinstance(statement.targets[0], ast.Name)
            ):
                raise self._error(statement, "only assignments of values to names are read, nothing is executed")
            name = statement.targets[0].id
            if name in self._values:
                raise self._error(statement, f"'{name}' is assigned twice")
            self._values[name] = statement.value

    def read_generator(self) -> MmeditConfig:
        inherits = "_base_" in self._values
        advice = "; settings of its _base_ are not followed: give the merged file (mmcv prints it)" if inherits else ""
        if "model" not in self._values:
            raise ConfigError(f"{self._path} assigns no 'model'{advice}")
        model = self._entries(self._values["model"], "model")
        if "generator" not in model:
            raise ConfigError(f"{self._path}: 'model' has no 'generator'{advice}")
        settings = self._entries(model["generator"], "generator")
        net = self._literal(settings["type"], "type") if "type" in settings else None
        if not isinstance(net, str) or net not in _NETS:
            found = f"'{net}'" if net is not None else "missing"
            raise ConfigError(f"{self._path}: the generator's type is {found}, can be {', '.join(_NETS)}{advice}")
        family = _NETS[net]
        defaults = _DEFAULTS[family]
        unknown = sorted(settings.keys() - defaults.keys() - _IGNORED)
        if unknown:
            raise ConfigError(f"{self._path}: unknown setting '{unknown[0]}' of {net}, known are {', '.join(defaults)}")
        absent = [name for name in defaults if name not in settings]
        if inherits and absent:
            raise ConfigError(f"{self._path}: the generator has no '{absent[0]}'{advice}")
        numbers = {
            name: self._number(settings[name], name) if name in settings else default
            for name, default in defaults.items()
        }
        return _to_config(family, numbers)

    def _number(self, node: ast.expr, name: str) -> float:
        value = self._literal(node, name)
        is_threshold = name == "dynamic_refine_thres"
        if isinstance(value, bool) or not isinstance(value, int | float if is_threshold else int):
            raise self._error(node, f"{name} is {value!r}, has to be a{' ' if is_threshold else ' whole '}number")
        if value < (0 if is_threshold else 1):
            raise self._error(node, f"{name} is {value}, has to be at least {0 if is_threshold else 1}")
        return value

    def _entries(self, node: ast.expr, what: str) -> dict[str, ast.expr]:
        """Return the entries of `dict(a=...)` or `{'a': ...}`, not evaluated."""
        node = self._resolved(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            pairs = [(self._key(key), value) for key, value in zip(node.keys, node.values, strict=True)]
        else:
            raise self._error(node, f"'{what}' is not dict(name=value, ...)")
        entries = {name: value for name, value in pairs if name is not None}
        if len(entries) != len(pairs):
            raise self._error(node, f"'{what}' is not dict(name=value, ...): only plain, different names are read")
        return entries

    def _key(self, key: ast.expr | None) -> str | None:
        return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None

    def _literal(self, node: ast.expr, what: str) -> object:
        node = self._resolved(node)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise self._error(node, f"'{what}' is computed: write the value, configs are not executed") from error

    def _resolved(self, node: ast.expr) -> ast.expr:
        """Follow names to what was assigned to them."""
        for _ in range(len(self._values) + 1):
            if not isinstance(node, ast.Name):
                return node
            if node.id not in self._values:
                break
            node = self._values[node.id]
        raise self._error(node, f"'{ast.unparse(node)}' is not assigned in this file")

    def _error(self, node: ast.stmt | ast.expr, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}, line {node.lineno}: {reason}")


def _to_config(family: Literal["realbasicvsr", "basicvsr"], numbers: dict[str, float]) -> MmeditConfig:
    is_real = family == "realbasicvsr"
    return MmeditConfig(
        family=family,
        mid_channels=int(numbers["mid_channels"]),
        num_propagation_blocks=int(numbers["num_propagation_blocks" if is_real else "num_blocks"]),
        num_cleaning_blocks=int(numbers["num_cleaning_blocks"]) if is_real else None,
        refine_threshold=float(numbers["dynamic_refine_thres"]) if is_real else None,
    )
