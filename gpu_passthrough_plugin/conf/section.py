"""The values of one group, and every fault met on the way to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oslo_config import cfg, types

from gpu_passthrough_plugin.conf.document import (
    DEFAULT,
    Document,
    without_secrets,
)


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
