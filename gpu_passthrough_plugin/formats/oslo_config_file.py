"""oslo.config's configuration files: each value, and the line it is on.

oslo.config's own parser and types read them.  Where its parser stops at the
first line that it cannot read, this goes on: all are reported together.
Source: oslo.config, iniparser.py, cfg.py (ConfigParser) and types.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from oslo_config import iniparser

DEFAULT = "DEFAULT"

# An operator's longest file has some thousand lines.
MAX_BYTES = 1 << 20
_SHOWN = 60


def boolean(text: str) -> bool:
    """Return the boolean that a text is.

    :raises ValueError: when oslo.config takes it for none.
    """
    # Late, as in ``one_of``: it takes longer than listing a small host.
    from oslo_config import types

    return bool(types.Boolean()(text))


def one_of(choices: Sequence[str]) -> Any:
    """Return a reader of one of these texts, which raises ValueError."""
    from oslo_config import types

    return types.String(choices=list(choices))


def names(text: str) -> tuple[str, ...]:
    """Return the texts in a list that is separated by commas.

    Source: oslo.config, types.py (List without bounds, of String).
    """
    text = text.strip().rstrip(",")
    return tuple(map(str.strip, text.split(","))) if text else ()


class Value(NamedTuple):
    """One value of an option.

    :param section: in lower case, but for ``DEFAULT``.
    :param option: its name as written.
    :param place: file and line, such as ``nova.conf:12``.
    :param text: of several lines where the value goes on below.
    """

    section: str
    option: str
    place: str
    text: str


def read(name: str, data: bytes, faults: list[str]) -> tuple[Value, ...]:
    """Return the values in a file, in their order.

    :param name: the file's, for places.
    :param faults: gets one line for each line that is not valid, or one
        for a file that is too large or not text.
    """
    if len(data) > MAX_BYTES:
        faults.append(f"{name}: larger than {MAX_BYTES} bytes")
        return ()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        faults.append(
            f"{name}: byte {error.start} is not valid UTF-8; expected a"
            " configuration file"
        )
        return ()
    # What Python makes of line ends when it opens a text file.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parser = _Parser(name, faults)
    rest = iter(text.split("\n"))
    while True:
        try:
            parser.parse(rest)
        except iniparser.ParseError as error:
            parser.fault(error.lineno, error.msg, error.line)
        else:
            return tuple(parser.values)


class _Parser(iniparser.BaseParser):
    """Collects the values; each call of ``parse`` goes on from the last."""

    def __init__(self, name: str, faults: list[str]) -> None:
        super().__init__()
        self.values: list[Value] = []
        self._name = name
        self._faults = faults
        self._section = ""
        self._begun = 0

    def fault(self, number: int, why: str, line: str) -> None:
        shown = repr(line)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}…"
        self._faults.append(
            f"{self._name}:{number}: {shown} is not valid: {why}"
        )

    def _split_key_value(self, line: str) -> tuple[str, list[str]]:
        # A value that goes on below is complete only some lines later.
        self._begun = self.lineno
        return super()._split_key_value(line)

    def new_section(self, section: str) -> None:
        is_default = section == DEFAULT
        self._section = section if is_default else section.lower()

    def assignment(self, key: str, value: list[str]) -> None:
        # Source: oslo.config, cfg.py (ConfigParser.assignment).
        if not self._section:
            why = "Section must be started before assignment"
            self.fault(self._begun, why, key)
            return
        place = f"{self._name}:{self._begun}"
        self.values.append(Value(self._section, key, place, "\n".join(value)))
