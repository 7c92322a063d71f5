"""Names that say nothing: of modules, and of what functions hold."""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.architecture.reading import Module, modules

# Never a word of a module's name.
EMPTY = frozenset(
    {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
)

# These say as little when they are the whole name.
EVASIVE = frozenset(
    {
        "cells",
        "ends",
        "facts",
        "parts",
        "pieces",
        "site",
        "terms",
        "verbs",
        "word",
        "words",
    }
)

# Names of parameters and locals that fit everything; a local is called what
# it holds, such as ``installation``, ``fleet``, ``txn``.
VAGUE = frozenset({"asked", "found", "known", "of", "said", "wanted"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def empty_names(root: Path) -> list[str]:
    """Return a line for each module whose name says nothing."""
    return [
        f"{module.path}: is named for nothing; name what it holds"
        for module in modules(root)
        if any(map(_is_empty, module.name.split(".")))
    ]


def vague_names(root: Path) -> Mapping[str, list[str]]:
    """Return a line for each vague parameter or local, by room."""
    rooms: dict[str, list[str]] = collections.defaultdict(list)
    for module in modules(root):
        room = module.name.partition(".")[0] or "the root"
        rooms[room] += _vague(module)
    return {room: lines for room, lines in rooms.items() if lines}


def _is_empty(name: str) -> bool:
    return name in EVASIVE or bool(EMPTY & set(name.split("_")))


def _vague(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            for name in sorted(VAGUE & set(_names(node))):
                yield f"{module.path}:{node.lineno}: {node.name} has {name!r}"


def _names(function: Function) -> Iterator[str]:
    """Yield parameters and locals, without those of functions in it."""
    arguments = function.args
    for argument in (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        *filter(None, (arguments.vararg, arguments.kwarg)),
    ):
        yield argument.arg
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, Function | ast.ClassDef):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            yield node.name or ""
        if isinstance(node, ast.Lambda):
            yield from (argument.arg for argument in node.args.args)
        pending += ast.iter_child_nodes(node)
