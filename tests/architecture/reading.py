"""What a module is and uses, read from its source without importing it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import io
import tokenize
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


# What is on a line that has no code.
_NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
        tokenize.INDENT,
        tokenize.NEWLINE,
        tokenize.NL,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """A module of the package.

    :param name: dotted, without the package's own; empty for its root.
    :param path: relative to the folder that holds the package.
    :param is_package: whether it is an ``__init__.py``.
    :param uses: imports, in full, and what is used of imported modules.
    :param writes: lines that call ``open`` to write.
    """

    name: str
    path: str
    is_package: bool
    source: str
    tree: ast.Module
    uses: tuple[Use, ...]
    writes: tuple[int, ...]

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return self.source.count("\n")

    @property
    def code_lines(self) -> int:
        """How many lines have code: no blank line, comment or docstring."""
        lines: set[int] = set()
        for token in tokenize.generate_tokens(
            io.StringIO(self.source).readline
        ):
            if token.type not in _NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            lines -= _docstring(node)
        return len(lines)


@functools.cache
def modules(root: Path) -> tuple[Module, ...]:
    """Return every module of the package in the folder ``root``."""
    return tuple(
        _module(path, path.relative_to(root))
        for path in sorted((root / PACKAGE).rglob("*.py"))
    )


def imported(module: Module, names: frozenset[str]) -> frozenset[str]:
    """Return which of the package's modules a module imports.

    :param names: those of all of the package's modules.
    """
    prefix = f"{PACKAGE}."
    targets = set()
    for use in module.uses:
        if use.name.startswith(prefix):
            inside = use.name.removeprefix(prefix)
            # ``from a.b import C`` uses a.b where a.b.C is no module.
            while inside and inside not in names:
                inside = inside.rpartition(".")[0]
            targets.add(inside)
    return frozenset(targets - {"", module.name})


def uses_of(path: Path, root: Path) -> frozenset[str]:
    """Return what a file imports of the package, without the package's name.

    :param path: any file below ``root``, such as a test.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    aliases: dict[str, str] = {}
    uses = [*_imports(tree, path.relative_to(root).parent.parts, aliases)]
    uses += _attributes(tree, aliases)
    prefix = f"{PACKAGE}."
    return frozenset(
        use.name.removeprefix(prefix)
        for use in uses
        if use.name.startswith(prefix)
    )


def _module(path: Path, shown: Path) -> Module:
    parts = shown.with_suffix("").parts[1:]
    is_package = bool(parts) and parts[-1] == "__init__"
    name = parts[:-1] if is_package else parts
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, str(path))
    folder = (PACKAGE, *(name if is_package else name[:-1]))
    aliases: dict[str, str] = {}
    uses = list(_imports(tree, folder, aliases))
    uses += _attributes(tree, aliases)
    uses += _calls(tree)
    return Module(
        ".".join(name),
        str(shown),
        is_package,
        source,
        tree,
        tuple(uses),
        _writes(tree),
    )


def _docstring(node: ast.AST) -> set[int]:
    """Return the lines of a node's docstring."""
    if not isinstance(
        node,
        ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
    ):
        return set()
    if ast.get_docstring(node, clean=False) is None:
        return set()
    text = node.body[0]
    return set(range(text.lineno, (text.end_lineno or text.lineno) + 1))


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
