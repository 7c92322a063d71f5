"""keystoneauth's errors and Placement's refusals, as ours."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from keystoneauth1 import exceptions

from gpu_passthrough_plugin import errors

Json = Mapping[str, Any]


class Reply(NamedTuple):
    """What Placement answered.

    :param body: empty where there is none.
    """

    status: int
    body: Json


class Clash(enum.StrEnum):
    """Why Placement refused what would have been right.

    Source: placement, errors.py.
    """

    # Others took it, or it is not what it was: choose another.
    CAPACITY = "placement.undefined_code"
    # A generation is another by now: read again.
    CONCURRENT = "placement.concurrent_update"
    # Somebody holds what was to go.
    INVENTORY_IN_USE = "placement.inventory.inuse"
    PROVIDER_IN_USE = "placement.resource_provider.inuse"
    # There is one of that name.
    DUPLICATE = "placement.duplicate_name"
    OTHER = ""


class Lost(errors.Unavailable):
    """No answer, or none of Placement's: it may have been done, or not."""


class Busy(Lost):
    """The server is there, and answers that it cannot just now."""


class Again(Exception):
    """Others were faster: read again, and do it again.

    :param error: what is to be said after the last attempt.
    """

    def __init__(self, error: errors.Conflict) -> None:
        super().__init__(str(error))
        self.error = error


def clash(reply: Reply) -> Clash | None:
    """Which refusal a 409 is; None when it is none."""
    if reply.status != 409:
        return None
    found = code(reply)
    return Clash(found) if found in set(Clash) else Clash.OTHER


def code(reply: Reply) -> str:
    """Placement's own code of an error; empty when it has none."""
    return str(_first(reply).get("code", ""))


def detail(reply: Reply) -> str:
    """Placement's own words, in one line."""
    words = str(_first(reply).get("detail", "")).split()
    return " ".join(words) or f"status {reply.status}"


def _first(reply: Reply) -> Json:
    found = reply.body.get("errors")
    if isinstance(found, list) and found and isinstance(found[0], Mapping):
        return found[0]
    return {}


def require(reply: Reply, name: str, *statuses: int) -> Json:
    """The body of an answer with one of these statuses; 200 by default.

    :param name: of the ledger, for the message.
    :raises Lost: when the server had a fault.
    :raises Unavailable: when it is any other.
    """
    if reply.status in (statuses or (200,)):
        return reply.body
    if reply.status >= 500:
        raise Busy(
            f"Placement {name} answers with status {reply.status}"
            f" ({detail(reply)}); see its log"
        )
    if reply.status in (401, 403):
        raise errors.Unavailable(
            f"Placement {name} does not let this in (status {reply.status}:"
            f" {detail(reply)}); check [placement] auth_type, its"
            " credentials, and that they have the role admin or service"
        )
    raise errors.Unavailable(
        f"Placement {name} answers with status {reply.status}"
        f" ({detail(reply)}), wanted {statuses or (200,)}; check [placement]"
        " endpoint_override, and the releases of both"
    )


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise keystoneauth's errors as ours.

    :param name: of the ledger, without a password.
    :raises Lost: when there was no answer.
    :raises Unavailable: when no credentials or no endpoint is right.
    """
    try:
        yield
    except exceptions.ConnectionError as error:
        raise Lost(
            f"Placement {name} does not answer ({_kind(error)}); check"
            " [placement] and that its server runs"
        ) from error
    except (exceptions.Unauthorized, exceptions.Forbidden) as error:
        raise errors.Unavailable(
            f"Keystone refuses the credentials for Placement {name}"
            f" ({_kind(error)}); check [placement] auth_type and what goes"
            " with it"
        ) from error
    except (
        exceptions.EndpointNotFound,
        exceptions.CatalogException,
        exceptions.DiscoveryFailure,
    ) as error:
        raise errors.Unavailable(
            f"there is no Placement {name} ({_kind(error)}); check"
            " [placement] endpoint_override or the service catalog"
        ) from error
    except exceptions.ClientException as error:
        raise errors.Unavailable(
            f"Placement {name} cannot be asked ({_kind(error)}); check"
            " [placement]"
        ) from error


def _kind(error: Exception) -> str:
    """What went wrong, without a URL: that may hold a password."""
    inner = error.__cause__ or error.__context__
    kind = type(error).__name__
    return f"{kind}: {type(inner).__name__}" if inner else kind
