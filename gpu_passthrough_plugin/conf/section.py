"""How configuration files are read, and what is wrong in them.

Every fault is collected, so that an operator sees all of them at once.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shlex
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

from oslo_config import cfg, iniparser, types

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import url

DEFAULT = "DEFAULT"


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
    """Return a file as oslo.config's own parser reads it.

    :raises Invalid: when it is missing, unreadable or malformed.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(path, sections).parse()
    except OSError as error:
        raise errors.Invalid(
            f"{path}: cannot be read ({error.strerror}); expected a"
            " configuration file, see --config-file"
        ) from error
    except UnicodeDecodeError as error:
        raise errors.Invalid(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start});"
            " expected a configuration file"
        ) from error
    except iniparser.ParseError as error:
        raise errors.Invalid(
            f"{path}: line {error.lineno} is malformed ({error.msg}); expected"
            " [GROUP] and below it OPTION = VALUE"
            # Its own text has the line, which may be a password.
        ) from None
    return Document(path, _named(sections))


def secrets(
    documents: Iterable[Document], secret_names: Collection[str]
) -> frozenset[str]:
    """Return what logs and tracebacks must not show of some files.

    :param secret_names: of options whose values are secret.
    """
    hidden: set[str] = set()
    for document in documents:
        for options in document.groups.values():
            for name, values in options.items():
                is_secret = name in secret_names or url.is_secret_name(name)
                # Such as keyfile: where a secret is, and not what it is.
                is_secret = is_secret and not name.endswith("file")
                for value in values:
                    if _is_url(value):
                        hidden |= url.secrets(value)
                    elif is_secret and len(value) >= url.MIN_HIDDEN:
                        hidden.add(value)
    return frozenset(hidden)


def _unmasked(text: str) -> str:
    """Return a value as a fault shows it: without credentials in a URL."""
    return url.hidden(text, url.secrets(text) if _is_url(text) else ())


def _is_url(value: str) -> bool:
    return "://" in value or "@" in value


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
    """The values of one group of options.

    An option with a bad value has its default, so that the other options
    are checked as well; ``faults`` gets a line for it.

    :param documents: the files; a later one overrides an earlier one.
    :param faults: a list that all sections of a configuration share.
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
        self._unusable: set[str] = set()

    def value(self, option: cfg.Opt) -> Any:
        """Return an option's value, which has the option's own type."""
        try:
            value = self._values[option.dest]
        except ValueError:
            self._refuse(option, _expected(option))
            return option.default
        except (
            cfg.NoSuchOptError,
            cfg.NoSuchGroupError,
            cfg.TemplateSubstitutionError,
        ):
            # oslo.config takes what follows a $ for an option's name.  In a
            # default these names are right, and have faults of their own.
            if self.is_set(option):
                self._refuse(option, "expected $$ for each literal $")
            return option.default
        if value is None and option.default is not None:
            # An integer with nothing after the equals sign.
            self._refuse(option, _expected(option))
            return option.default
        return value

    def _refuse(self, option: cfg.Opt, expected: str) -> None:
        self.fault(option, expected)
        self._unusable.add(option.dest)

    def register(self, options: Sequence[cfg.Opt]) -> None:
        """Register more options, so that ``value`` can return them."""
        self._conf.register_opts(options, group=self.group)

    def names(self) -> frozenset[str]:
        """Return the names of this group that a file gives a value."""
        groups = (d.groups.get(self.group, {}) for d in self._documents)
        return frozenset(name for names in groups for name in names)

    def check_names(
        self, names: Collection[str], *, are_complete: bool = True
    ) -> None:
        """Add a fault for each name in a file that no option has.

        :param names: of the group's options.
        :param are_complete: False where newer releases of another program
            may have more: then only a name that resembles one is at fault.
        """
        for document in self._documents:
            for name in document.groups.get(self.group, {}):
                is_valid = name in names
                if not is_valid and (are_complete or nearest(name, names)):
                    fault = unknown_option(self.group, name, names)
                    self.faults.append(f"{document.path}: {fault}")

    def command(self, option: cfg.Opt) -> tuple[str, ...]:
        """Return a program and its arguments; none where there is no value.

        Add a fault if they are not that.
        """
        text = str(self.value(option) or "")
        try:
            argv = tuple(shlex.split(text))
        except ValueError:
            argv = ("",)
        if argv and not argv[0].startswith("/"):
            self.fault(
                option,
                "expected the path of a program, which begins with /, and its"
                " arguments; quotes have to be closed",
            )
            return ()
        return argv

    def is_set(self, option: cfg.Opt) -> bool:
        """Return whether a file gives the option a value."""
        return any(d.values(self.group, option.dest) for d in self._documents)

    def fault(
        self, option: cfg.Opt, expected: str, part: str | None = None
    ) -> None:
        """Add the fault that an option's value is not a valid one.

        A value that ``value`` did not return gets no other: what is compared
        then is the option's default.

        :param expected: what is valid, such as "expected an absolute path".
        :param part: the part of the value at fault; by default all of it.
        """
        if option.dest in self._unusable:
            return
        path, written = self._written(option)
        text = written if part is None else part
        shown = url.redacted(text) if option.secret else _unmasked(text)
        self.faults.append(
            f"{path}: [{self.group}] {option.dest} is {shown!r}; {expected}"
        )

    def source(self, option: cfg.Opt) -> str:
        """Return the path of the file that gives an option its value."""
        return self._written(option)[0]

    def _written(self, option: cfg.Opt) -> tuple[str, str]:
        for document in reversed(self._documents):
            values = document.values(self.group, option.dest)
            if values:
                return document.path, values[-1]
        return "default", str(option.default)


def _expected(option: cfg.Opt) -> str:
    kind = option.type
    choices = getattr(kind, "choices", None)
    if choices:
        return f"expected one of: {', '.join(sorted(map(str, choices)))}"
    if isinstance(kind, types.List):
        is_integer = isinstance(kind.item_type, types.Integer)
        noun = "integers" if is_integer else "values"
        return f"expected {noun}, separated by commas"
    if isinstance(kind, types.Number):
        noun = "an integer" if isinstance(kind, types.Integer) else "a number"
        return f"expected {noun}{_bounds(kind.min, kind.max)}"
    if isinstance(kind, types.Boolean):
        return "expected true or false"
    return f"expected {kind}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f" up to {high}"
    return f" of at least {low}" if high is None else f" from {low} to {high}"


def installed_drivers(namespace: str) -> frozenset[str]:
    """Return the names of the entry points in a namespace.

    Reads the metadata of every installed package: tens of milliseconds.
    """
    points = importlib.metadata.entry_points(group=namespace)
    return frozenset(point.name for point in points)


def expected_driver(names: Collection[str]) -> str:
    """Return what to write instead of a driver that is not installed.

    :param names: of the installed drivers.
    """
    listed = ", ".join(sorted(names)) or "none is installed"
    return f"expected one of: {listed}; or install the driver's package"


def unknown_options(
    document: Document,
    names: Mapping[str, Collection[str]],
    shared_groups: Collection[str],
) -> Iterator[str]:
    """Yield a fault for each name in a file that no option has.

    If a misspelt ``exclude`` were ignored, guests would be given what the
    operator excluded.  A group whose name resembles none of the product's
    is ignored: it may belong to a third party's driver.

    :param names: the options of each of the product's groups.
    :param shared_groups: groups that may have options of other programs:
        the group's own module checks their names.
    """
    for group, options in document.groups.items():
        if group not in names:
            near = nearest(group, names)
            if near:
                yield (
                    f"{document.path}: [{group}] is not a group of options;"
                    f" did you mean [{near}]?"
                )
        elif group not in shared_groups:
            for name in options:
                if name not in names[group]:
                    fault = unknown_option(group, name, names[group])
                    yield f"{document.path}: {fault}"


def repeated_lists(
    document: Document, options: Mapping[str, Iterable[cfg.Opt]]
) -> Iterator[str]:
    """Yield a fault for each list that a file gives in several lines.

    oslo.config takes the last line alone: guests would be given what an
    ``exclude`` before it names.

    :param options: of each of the product's groups.
    """
    for group, opts in options.items():
        for opt in opts:
            count = len(document.values(group, opt.dest))
            if count > 1 and isinstance(opt.type, types.List):
                yield (
                    f"{document.path}: [{group}] {opt.name} is set {count}"
                    " times, and only the last would count; expected one"
                    " line, with commas between the values"
                )


def unknown_option(group: str, name: str, names: Collection[str]) -> str:
    """Return the fault of a name that no option of its group has.

    :param names: of the group's options.
    """
    near = nearest(name, names)
    remedy = (
        f"did you mean {near}?"
        if near
        else f"expected one of: {', '.join(sorted(names))}"
    )
    return f"[{group}] {name} is not an option; {remedy}"


def nearest(name: str, names: Collection[str]) -> str:
    """Return the name that resembles a misspelt one most; "" if none does."""
    # Imported late: needed only for a fault.
    import difflib

    lowered = {valid.lower(): valid for valid in names}
    close = difflib.get_close_matches(name.lower(), lowered, 1, 0.75)
    return lowered[close[0]] if close else ""
