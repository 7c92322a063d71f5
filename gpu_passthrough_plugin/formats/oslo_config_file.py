"""Files of oslo.config's, as lines with their places.

Source: oslo.config, iniparser.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# An operator's longest file has some thousand lines.
MOST_BYTES = 1 << 20
_SHOWN = 60


class Value(NamedTuple):
    """One value of an option that may have several.

    :param spelled: the option as the file names it.
    :param place: file and line, such as ``nova.conf:12``.
    """

    spelled: str
    place: str
    text: str


class Line(NamedTuple):
    section: str
    value: Value


def lines(name: str, data: bytes, faults: list[str]) -> tuple[Line, ...]:
    if len(data) > MOST_BYTES:
        faults.append(
            f"{name}: more than {MOST_BYTES} bytes; wanted a configuration"
            " file"
        )
        return ()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        faults.append(
            f"{name}: byte {error.start} is no UTF-8; wanted a text file"
        )
        return ()
    return tuple(_assignments(name, text, faults))


def _assignments(name: str, text: str, faults: list[str]) -> Iterator[Line]:
    """The options of a file; a line that begins with a space goes on."""
    section, current, more = "DEFAULT", None, list[str]()
    for number, raw in enumerate(text.split("\n"), 1):
        line, place = raw.rstrip(), f"{name}:{number}"
        if current and line.startswith((" ", "\t")):
            more.append(line.lstrip())
            continue
        if current:
            yield _joined(current, more)
            current, more = None, []
        if line.startswith("["):
            section = _section(line, place, faults)
        elif line and not line.startswith(("#", ";")):
            current = _assignment(section, line, place, faults)
    if current:
        yield _joined(current, more)


def _joined(line: Line, more: Sequence[str]) -> Line:
    text = "\n".join([line.value.text, *more])
    return line._replace(value=line.value._replace(text=text))


def _section(line: str, place: str, faults: list[str]) -> str:
    if not line.endswith("]") or len(line) < 3:
        faults.append(f"{place}: {_cut(line)} is no [section]")
    name = line[1:-1]
    return name if name == "DEFAULT" else name.lower()


def _assignment(
    section: str, line: str, place: str, faults: list[str]
) -> Line | None:
    mark = re.search("[:=]", line)
    if mark is None or not line[: mark.start()].strip():
        faults.append(
            f"{place}: {_cut(line)} is no option; wanted NAME = VALUE, or"
            " spaces before what goes on from the line above"
        )
        return None
    text = line[mark.end() :].strip()
    if text and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return Line(section, Value(line[: mark.start()].strip(), place, text))


def _cut(line: str) -> str:
    shown = repr(line)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…'"
