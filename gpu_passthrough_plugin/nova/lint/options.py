"""What configuration files say of Nova's PCI devices, with line numbers.

Source: oslo.config, iniparser.py and cfg.py; nova, conf/pci.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors

# An operator's longest file has some thousand lines.
MOST_BYTES = 1 << 20
_SHOWN = 60
_PCI, _FILTERS = "pci", "filter_scheduler"
_NAME = re.compile(r"\$\{?[_a-zA-Z]")
# Older spellings, in the order in which their values are put before those
# of today's.
_SPELLINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "device_spec": (
        ("DEFAULT", "pci_passthrough_whitelist"),
        (_PCI, "passthrough_whitelist"),
        (_PCI, "device_spec"),
    ),
    "alias": (("DEFAULT", "pci_alias"), (_PCI, "alias")),
}


class Value(NamedTuple):
    """One value of an option that may have several.

    :param spelled: the option as the file names it.
    :param place: file and line, such as ``nova.conf:12``.
    """

    spelled: str
    place: str
    text: str


class Options(NamedTuple):
    """What the files say, together; None for what none of them says.

    :param device_spec: in the order in which Nova tries them.
    :param filters: names of ``enabled_filters``.
    """

    device_spec: tuple[Value, ...] = ()
    alias: tuple[Value, ...] = ()
    report_in_placement: bool | None = None
    pci_in_placement: bool | None = None
    filters: tuple[str, ...] | None = None


class _Line(NamedTuple):
    section: str
    value: Value


def read(files: Sequence[tuple[str, bytes]]) -> Options:
    """What files of that name and contents say; a later one is stronger.

    :raises Faults: with each line that is none of oslo.config's, and each
        file that is too large or no text.
    """
    faults: list[str] = []
    read = [_lines(name, data, faults) for name, data in files]
    lines = [line for found in read for line in found]
    faults += [fault for line in lines if (fault := _substitution(line))]
    if faults:
        raise errors.Faults(tuple(faults))
    filters = _last(lines, _FILTERS, "enabled_filters")
    return Options(
        device_spec=tuple(v for f in read for v in _values(f, "device_spec")),
        alias=tuple(v for f in read for v in _values(f, "alias")),
        report_in_placement=_truth(_last(lines, _PCI, "report_in_placement")),
        pci_in_placement=_truth(_last(lines, _FILTERS, "pci_in_placement")),
        filters=_names(filters),
    )


def _lines(name: str, data: bytes, faults: list[str]) -> tuple[_Line, ...]:
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


def _assignments(name: str, text: str, faults: list[str]) -> Iterator[_Line]:
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


def _joined(line: _Line, more: Sequence[str]) -> _Line:
    text = "\n".join([line.value.text, *more])
    return line._replace(value=line.value._replace(text=text))


def _section(line: str, place: str, faults: list[str]) -> str:
    if not line.endswith("]") or len(line) < 3:
        faults.append(f"{place}: {_cut(line)} is no [section]")
    name = line[1:-1]
    return name if name == "DEFAULT" else name.lower()


def _assignment(
    section: str, line: str, place: str, faults: list[str]
) -> _Line | None:
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
    return _Line(section, Value(line[: mark.start()].strip(), place, text))


def _values(lines: Sequence[_Line], option: str) -> Iterator[Value]:
    for section, spelled in _SPELLINGS[option]:
        for line in lines:
            if (line.section, line.value.spelled) == (section, spelled):
                yield line.value


def _last(lines: Sequence[_Line], section: str, spelled: str) -> str | None:
    found = None
    for line in lines:
        if (line.section, line.value.spelled) == (section, spelled):
            found = line.value.text
    return found


def _substitution(line: _Line) -> str:
    """oslo.config puts another option's value where $NAME stands."""
    value = line.value
    is_ours = any(
        (line.section, value.spelled) in named for named in _SPELLINGS.values()
    )
    if not is_ours or not _NAME.search(re.sub(r"\\\$|\$\$", "", value.text)):
        return ""
    return (
        f"{value.place}: {value.spelled} has $NAME in it, which stands for"
        " another option; write the value itself, or $$ for a dollar sign"
    )


def _truth(text: str | None) -> bool | None:
    """Source: oslo.config, types.py (Boolean)."""
    if text is None:
        return None
    return text.strip().lower() in ("true", "1", "on", "yes")


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _cut(line: str) -> str:
    shown = repr(line)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…'"
