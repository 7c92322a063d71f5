"""Which functions of a host an operator selected for guests.

``host enable --select`` remembers its selection in a file of the host.  That
file has oslo.config's syntax, and overrides ``[discovery] select``.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.selector import Selector

PATH = "/etc/gpu-passthrough/selection.conf"
MAX_BYTES = 1 << 16
# More than any host has cards; each is compared with every function.
MAX_SELECTORS = 1024

_GROUP, _OPTION = "discovery", "select"


class Source(enum.Enum):
    """What a host's selection comes from."""

    FILE = PATH
    CONFIGURATION = "[discovery] select"
    DEFAULT = "the default of [discovery] select"


class HostSelection(NamedTuple):
    """The one selection of a host.

    :param contents: of the host's file; None where there is none.
    """

    selectors: tuple[Selector, ...]
    source: Source
    contents: bytes | None = None


def chosen(
    contents: bytes | Unknown,
    name: str,
    configured: tuple[Selector, ...],
    *,
    is_configured: bool,
) -> HostSelection:
    """Return a host's selection: that of its file, or the configured one.

    :param contents: of the file, at most ``MAX_BYTES`` and one.
    :param name: of the file, in errors.
    :param configured: ``[discovery] select``, or its default.
    :param is_configured: whether a configuration file sets that option.
    :raises Faults: with each fault of the file.
    :raises ReadFailed: when it exists and cannot be read.
    """
    source = Source.CONFIGURATION if is_configured else Source.DEFAULT
    if contents is MISSING:
        return HostSelection(configured, source)
    if isinstance(contents, Unknown):
        raise errors.ReadFailed(
            f"{name} cannot be read ({contents.detail or contents}); expected"
            " the selection of this host: make it readable"
        )
    remembered = parse(contents, name)
    if remembered is None:
        return HostSelection(configured, source, contents)
    return HostSelection(remembered, Source.FILE, contents)


def parse(contents: bytes, name: str = PATH) -> tuple[Selector, ...] | None:
    """Return the selectors in a selection file; None if it sets none.

    :param name: of the file, in errors.
    :raises Faults: with each fault.
    """
    # Late: most listings are of hosts that have no such file.
    from gpu_passthrough_plugin.formats import oslo_config_file

    if len(contents) > MAX_BYTES:
        raise errors.Faults((f"{name}: larger than {MAX_BYTES} bytes",))
    faults: list[str] = []
    values = []
    for value in oslo_config_file.read(name, contents, faults):
        if (value.section, value.option) == (_GROUP, _OPTION):
            values.append(value)
        else:
            faults.append(
                f"{value.place}: [{value.section}] {value.option} is not an"
                f" option of this file; expected only [{_GROUP}] {_OPTION}"
            )
    if len(values) > 1:
        faults.append(
            f"{values[1].place}: [{_GROUP}] {_OPTION} is set {len(values)}"
            " times; expected one line, with commas between the values"
        )
    texts = oslo_config_file.names(values[0].text) if values else ()
    if len(texts) > MAX_SELECTORS:
        faults.append(
            f"{values[0].place}: {len(texts)} selectors; expected at most"
            f" {MAX_SELECTORS}"
        )
        texts = ()
    selectors = []
    for text in texts:
        try:
            selectors.append(selector.parse(text))
        except errors.Invalid as error:
            faults.append(f"{values[0].place}: {error}")
    if faults:
        raise errors.Faults(tuple(faults))
    return tuple(selectors) if values else None
