"""What is wrong with the arguments of a call, in one line.

Without cliff, which takes 10 MB of memory: the agent has no use for it.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from gpu_passthrough_plugin.cli import output


def one_line_errors(
    parser: argparse.ArgumentParser, prog: str
) -> argparse.ArgumentParser:
    """Return the parser, which says in one line what is wrong with a call.

    argparse's usage is mostly options of output formats. An empty argument
    is refused as well: it mostly is a shell's variable that was not set.
    """
    parse = parser.parse_known_args

    def error(message: str) -> NoReturn:
        output.print_error(f"{message}; see '{prog} --help'")
        parser.exit(2)

    def parse_nonempty(*args: Any, **kwargs: Any) -> Any:
        namespace, rest = parse(*args, **kwargs)
        for action in parser._actions:
            if _is_empty(getattr(namespace, action.dest, None)):
                name = next(iter(action.option_strings), action.metavar)
                expected = action.option_strings and action.metavar
                error(
                    f"{name or action.dest} is empty; expected"
                    f" {expected or 'a value'}"
                )
        return namespace, rest

    # cliff makes the parser, and does not ask for its class.
    parser.error = error  # type: ignore[method-assign]
    parser.parse_known_args = parse_nonempty  # type: ignore[method-assign]
    return parser


def _is_empty(argument: object) -> bool:
    """Return whether an argument, or one of several, is a blank text."""
    several = argument if isinstance(argument, list) else [argument]
    return any(isinstance(v, str) and not v.strip() for v in several)
