"""Which instance an operator names: by UUID, by name, or by a UUID's begin.

A whole UUID is always that UUID, also where a domain has it as its name.
Then an exact name wins over the beginning of a UUID.
"""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Collection

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.instances import ObservedInstances
from gpu_passthrough_plugin.model.instance import NamedInstance
from gpu_passthrough_plugin.model.reading import Unknown

MIN_DIGITS = 4
"""How many hexadecimal digits of a UUID name an instance at least."""

_PREFIX = re.compile("[0-9a-fA-F-]+")
_SHOWN = 5


def whole_uuid(text: str) -> str | None:
    """Return a whole UUID in its canonical form; None if it is not one."""
    try:
        return str(uuids.UUID(text))
    except ValueError:
        return None


def resolve(
    text: str, observed: ObservedInstances, *, is_destructive: bool
) -> NamedInstance:
    """Return the one instance that a text names.

    :param text: a UUID, the exact name of a guest of this host, or at least
        four digits that only one UUID of the ledger, the journal and
        libvirt's domains begins with.
    :param is_destructive: whether the caller changes something: then all of
        them have to be known, so that the text cannot mean another one.
    :raises Invalid: when it names several; with these.
    :raises Unavailable: when it may, because a part could not be read.
    :raises Refused: when it names none; with what was searched.
    """
    uuid = whole_uuid(text)
    if uuid is not None:
        return NamedInstance(uuid, observed.name(uuid))
    unread = [
        part.detail
        for part in (observed.journal, observed.domains)
        if isinstance(part, Unknown)
    ]
    if unread and is_destructive:
        raise errors.Unavailable(
            f"which instance {text!r} names is unknown: {'; '.join(unread)};"
            " give its whole UUID (see 'gpu-passthrough allocation list')"
        )
    matches = _named(text, observed) or _begun(text, observed)
    if not matches:
        raise errors.Refused(_nothing(text, observed, unread))
    if len(matches) > 1:
        raise errors.Invalid(
            f"{text!r} names {len(matches)} instances:"
            f" {_listed(matches, observed)}; give the whole UUID of one"
        )
    (uuid,) = matches
    return NamedInstance(uuid, observed.name(uuid))


def _named(text: str, observed: ObservedInstances) -> frozenset[str]:
    domains = observed.domains
    domains = () if isinstance(domains, Unknown) else domains
    return frozenset(
        {d.uuid for d in domains if d.name == text}
        | {i.uuid for i in observed.instances if i.name == text}
    )


def _begun(text: str, observed: ObservedInstances) -> frozenset[str]:
    """Return the UUIDs that begin with a text, if it is long enough."""
    if not _PREFIX.fullmatch(text):
        return frozenset()
    prefix = text.lower()
    if len(prefix.replace("-", "")) < MIN_DIGITS:
        return frozenset()
    return frozenset(
        uuid
        for uuid in _uuids(observed)
        if uuid.startswith(prefix) or uuid.replace("-", "").startswith(prefix)
    )


def _uuids(observed: ObservedInstances) -> frozenset[str]:
    """Return every UUID, also of domains that hold no unit."""
    domains = observed.domains
    domains = () if isinstance(domains, Unknown) else domains
    return frozenset(
        {a.consumer for a in observed.allocations}
        | {u.consumer for u in observed.malformed if u.consumer}
        | {i.uuid for i in observed.instances}
        | {d.uuid for d in domains}
    )


def _nothing(
    text: str, observed: ObservedInstances, unread: Collection[str]
) -> str:
    searched = ["the ledger"]
    if not isinstance(observed.journal, Unknown):
        searched.append("this host's journal")
    if not isinstance(observed.domains, Unknown):
        searched.append("this host's libvirt domains")
    places = ", ".join(searched)
    also = f" (not searched: {'; '.join(unread)})" if unread else ""
    return (
        f"no instance is called {text!r}, or has a UUID that begins with it;"
        f" searched {places}{also}; expected a UUID, {MIN_DIGITS} or more of"
        " its first digits, or a guest's name: see 'gpu-passthrough instance"
        " list'"
    )


def _listed(matches: Collection[str], observed: ObservedInstances) -> str:
    shown = [
        str(NamedInstance(uuid, observed.name(uuid)))
        for uuid in sorted(matches)[:_SHOWN]
    ]
    rest = len(matches) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
