"""What a module uses, read from its source without importing it."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = "gpu_passthrough_plugin"
_WRITING = frozenset("wax+")
_BUILTINS = ("open", "input", "__import__")


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """A dotted name that a module imports or calls, and the line."""

    line: int
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """A module of the package.

    :param name: dotted, without the package's own; empty for its root.
    :param uses: imports, in full, and what is used of imported modules.
    :param writes: lines that call ``open`` to write.
    """

    name: str
    path: str
    uses: tuple[Use, ...]
    writes: tuple[int, ...]


def modules(root: Path) -> Iterator[Module]:
    """Every module below ``root``, the folder that holds the package."""
    for path in sorted((root / PACKAGE).rglob("*.py")):
        yield _module(path, path.relative_to(root))


def _module(path: Path, shown: Path) -> Module:
    parts = shown.with_suffix("").parts[1:]
    is_package = bool(parts) and parts[-1] == "__init__"
    name = parts[:-1] if is_package else parts
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    folder = (PACKAGE, *(name if is_package else name[:-1]))
    aliases: dict[str, str] = {}
    uses = list(_imports(tree, folder, aliases))
    uses += _attributes(tree, aliases)
    uses += _calls(tree)
    return Module(".".join(name), str(shown), tuple(uses), _writes(tree))


def _imports(
    tree: ast.AST, folder: tuple[str, ...], aliases: dict[str, str]
) -> Iterator[Use]:
    """Imports by full name; ``aliases`` learns what they are called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for entry in node.names:
                # ``import os.path`` makes ``os`` a name of the module.
                top = entry.name.partition(".")[0]
                local = entry.asname or top
                aliases[local] = entry.name if entry.asname else top
                yield Use(node.lineno, entry.name)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, folder)
            for entry in node.names:
                aliases[entry.asname or entry.name] = f"{base}.{entry.name}"
                yield Use(node.lineno, f"{base}.{entry.name}")


def _base(node: ast.ImportFrom, folder: tuple[str, ...]) -> str:
    above = folder[: len(folder) - node.level + 1] if node.level else ()
    return ".".join((*above, *((node.module,) if node.module else ())))


def _attributes(tree: ast.AST, aliases: Mapping[str, str]) -> Iterator[Use]:
    """Names used of what was imported, such as ``os.path.join``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            head, _, rest = dotted.partition(".")
            if head in aliases:
                yield Use(node.lineno, f"{aliases[head]}.{rest}")


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _calls(tree: ast.AST) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _BUILTINS:
            yield Use(node.lineno, f"builtins.{node.id}")


def _writes(tree: ast.AST) -> tuple[int, ...]:
    """Lines that call ``open`` with a mode that writes, or is unknown."""
    lines = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "open"
        ):
            named = [k.value for k in node.keywords if k.arg == "mode"]
            for mode in [*node.args[1:2], *named]:
                text = mode.value if isinstance(mode, ast.Constant) else "w"
                if _WRITING & set(str(text)):
                    lines.append(node.lineno)
    return tuple(lines)
