"""A configuration file as it was written, before anything is believed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from oslo_config import cfg, iniparser

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


def read(path: str) -> Document:
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
