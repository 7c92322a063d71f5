"""Configuration files: the values of a group, and all faults in them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from oslo_config import cfg, iniparser, types

from gpu_passthrough_plugin import errors

DEFAULT = "DEFAULT"
_SECRETS = re.compile(r"(?<=://)\S*(?=@)|(?<=password=)[^&\s]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One file: its groups, their options, and each one's values in order.

    Names are oslo.config's: groups in lower case but for ``DEFAULT``,
    options with underscores.
    """

    path: str
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]

    def values(self, group: str, name: str) -> tuple[str, ...]:
        """Everything the file gives an option; empty when it does not."""
        return self.groups.get(group, {}).get(name, ())


def read_document(path: str) -> Document:
    """The file as oslo.config's own parser sees it.

    :raises Invalid: when it is missing, unreadable or malformed.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(path, sections).parse()
    except OSError as error:
        raise errors.Invalid(
            f"{path}: cannot be read ({error.strerror}); wanted a"
            " configuration file, see --config-file"
        ) from error
    except UnicodeDecodeError as error:
        raise errors.Invalid(
            f"{path}: is no text ({error.reason} at byte {error.start});"
            " wanted a configuration file in UTF-8"
        ) from error
    except iniparser.ParseError as error:
        raise errors.Invalid(
            f"{path}: line {error.lineno} is no part of a configuration"
            f" ({error.msg}); wanted [GROUP] and below it OPTION = VALUE"
        ) from error
    return Document(path, _named(sections))


def without_secrets(text: str) -> str:
    """``text`` with credentials of URLs in it as ``***``."""
    return _SECRETS.sub("***", text)


def _named(
    sections: Mapping[str, Mapping[str, list[str]]],
) -> dict[str, dict[str, tuple[str, ...]]]:
    groups: dict[str, dict[str, tuple[str, ...]]] = {}
    for section, options in sections.items():
        group = section if section == DEFAULT else section.lower()
        into = groups.setdefault(group, {})
        for name, values in options.items():
            key = name.replace("-", "_")
            into[key] = into.get(key, ()) + tuple(values)
    return groups


class Section:
    """One group of a configuration.

    An option whose value is at fault reads as its default, so that the
    others are looked at too; ``faults`` has a line for it then.

    :param documents: where the values come from, the last one winning.
    :param faults: a list that the sections of a configuration share.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        group: str,
        documents: Sequence[Document],
        faults: list[str],
    ) -> None:
        self.group = group
        self.faults = faults
        self._conf = conf
        self._values = conf if group == DEFAULT else conf[group]
        self._documents = documents

    def value(self, option: cfg.Opt) -> Any:
        """What oslo.config makes of an option: of the option's own type."""
        try:
            value = self._values[option.dest]
        except ValueError:
            self.fault(option, _wanted(option))
            return option.default
        except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError):
            # What it cannot find is what stands behind the $.  A default
            # has only names of options there, which have faults then.
            if self.is_set(option):
                self.fault(option, "wanted $$ wherever a plain $ is meant")
            return option.default
        if value is None and option.default is not None:
            # An integer with nothing behind the equals sign.
            self.fault(option, _wanted(option))
            return option.default
        return value

    def register(self, options: Sequence[cfg.Opt]) -> None:
        """Take more options, so that ``value`` knows them."""
        self._conf.register_opts(options, group=self.group)

    def names(self) -> frozenset[str]:
        """Names that a file gives a value in this group."""
        found = (d.groups.get(self.group, {}) for d in self._documents)
        return frozenset(name for names in found for name in names)

    def is_set(self, option: cfg.Opt) -> bool:
        """Whether a file gives the option a value."""
        return any(d.values(self.group, option.dest) for d in self._documents)

    def fault(
        self, option: cfg.Opt, wanted: str, found: str | None = None
    ) -> None:
        """Note that an option's value is not what it has to be.

        :param found: the part at fault; by default the whole value.
        """
        path, written = self._written(option)
        shown = without_secrets(written if found is None else found)
        self.faults.append(
            f"{path}: [{self.group}] {option.dest} is {shown!r}; {wanted}"
        )

    def place(self, option: cfg.Opt) -> str:
        """The file that an option's value comes from."""
        return self._written(option)[0]

    def _written(self, option: cfg.Opt) -> tuple[str, str]:
        for document in reversed(self._documents):
            values = document.values(self.group, option.dest)
            if values:
                return document.path, values[-1]
        return "default", str(option.default)


def _wanted(option: cfg.Opt) -> str:
    kind = option.type
    if isinstance(kind, types.Boolean):
        return "wanted true or false"
    if isinstance(kind, types.Integer):
        return f"wanted an integer{_bounds(kind.min, kind.max)}"
    return f"wanted {kind}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f" up to {high}"
    return f" from {low} on" if high is None else f" from {low} to {high}"


def installed_drivers(namespace: str) -> frozenset[str]:
    """Names of the entry points in ``namespace``.

    It reads the metadata of all that is installed: tens of milliseconds.
    """
    found = importlib.metadata.entry_points(group=namespace)
    return frozenset(point.name for point in found)


def expected_driver(names: Collection[str]) -> str:
    """What to write instead of a driver that is not among ``names``."""
    listed = ", ".join(sorted(names)) or "none is installed"
    return f"wanted one of: {listed}; or install the package that has it"


def unknown_options(
    document: Document,
    known: Mapping[str, Collection[str]],
    shared: Collection[str],
) -> Iterator[str]:
    """A line for each name that was hardly meant as it is written.

    A misspelt ``exclude`` that is silently passed over would hand out
    what the operator wanted kept.  Groups unlike any of ours are let be:
    they may belong to somebody's driver.

    :param known: every option of each of our groups.
    :param shared: groups whose other options are somebody else's.
    """
    for group, options in document.groups.items():
        if group not in known:
            near = _near(group, known)
            if near:
                yield (
                    f"{document.path}: [{group}] is no group; wanted [{near}]?"
                )
        elif group not in shared:
            for name in options:
                if name not in known[group]:
                    yield _fault(document.path, group, name, known[group])


def _fault(path: str, group: str, name: str, options: Collection[str]) -> str:
    wanted = _near(name, options) or f"one of: {', '.join(sorted(options))}"
    return f"{path}: [{group}] {name} is no option; wanted {wanted}"


def _near(name: str, names: Collection[str]) -> str:
    # Imported late: needed only where something is wrong.
    import difflib

    lowered = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), lowered, 1, 0.75)
    return lowered[close[0]] if close else ""
