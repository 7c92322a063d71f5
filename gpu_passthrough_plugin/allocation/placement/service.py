"""Asking Placement: the one place where a request goes out."""

from __future__ import annotations

import enum
import functools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from keystoneauth1 import discover, exceptions

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import session

Json = Mapping[str, Any]


class Reply(NamedTuple):
    """What Placement answered.

    :param body: empty where there is none.
    """

    status: int
    body: Json


class ConflictCode(enum.StrEnum):
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


class ServerBusy(session.NoAnswer):
    """The server is there, and answers that it cannot just now."""


class Retry(Exception):
    """Others were faster: read again, and do it again.

    :param error: what is to be said after the last attempt.
    """

    def __init__(self, error: errors.Conflict) -> None:
        super().__init__(str(error))
        self.error = error


def conflict_code(reply: Reply) -> ConflictCode | None:
    """Which refusal a 409 is; None when it is none."""
    if reply.status != 409:
        return None
    found = _code(reply)
    return (
        ConflictCode(found)
        if found in set(ConflictCode)
        else ConflictCode.OTHER
    )


def _code(reply: Reply) -> str:
    """Placement's own code of an error; empty when it has none."""
    return str(_first(reply).get("code", ""))


def error_detail(reply: Reply) -> str:
    """Placement's own words, in one line."""
    words = str(_first(reply).get("detail", "")).split()
    return " ".join(words) or f"status {reply.status}"


def _first(reply: Reply) -> Json:
    found = reply.body.get("errors")
    if isinstance(found, list) and found and isinstance(found[0], Mapping):
        return found[0]
    return {}


def require_status(reply: Reply, name: str, *statuses: int) -> Json:
    """The body of an answer with one of these statuses; 200 by default.

    :param name: of the ledger, for the message.
    :raises NoAnswer: when the server had a fault.
    :raises Unavailable: when it is any other.
    """
    if reply.status in (statuses or (200,)):
        return reply.body
    if reply.status >= 500:
        raise ServerBusy(
            f"Placement {name} answers with status {reply.status}"
            f" ({error_detail(reply)}); see its log"
        )
    if reply.status in (401, 403):
        raise errors.Unavailable(
            f"Placement {name} does not let this in (status {reply.status}:"
            f" {error_detail(reply)}); check [placement] auth_type, its"
            " credentials, and that they have the role admin or service"
        )
    raise errors.Unavailable(
        f"Placement {name} answers with status {reply.status}"
        f" ({error_detail(reply)}), wanted {statuses or (200,)}; check"
        " [placement] endpoint_override, and the releases of both"
    )


def retry_changed(what: str, words: str) -> Retry:
    """What to raise when others were faster."""
    return Retry(
        errors.Conflict(f"{what} changed at each attempt ({words}); try again")
    )


T = TypeVar("T")

_LOG = logging.getLogger(__name__)

# The base: candidates with a root's traits (1.35) and providers without
# generation conflicts of their own making; 1.38 has ``consumer_type``.
# Source: placement, rest_api_version_history.rst.
BASE = (1, 36)
TYPED = (1, 38)

_RETRIES = 20
_CONNECT_RETRIES = 3
_PATIENCE_S = 30.0
_INTERVAL_S = 0.05
_MAX_INTERVAL_S = 1.0
# Names of traits in one query: a request line has an end.
_NAMES = 20


class Service:
    """Placement, asked in one microversion, over one session."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Make one; nothing is asked yet.

        :raises Invalid: when the settings are wrong.
        """
        self._adapter = session.adapter_for(settings)
        self._connect_retries = int(
            str(settings.get("connect_retries") or _CONNECT_RETRIES)
        )
        self._known: set[str] = set()
        self._known_classes: set[str] = set()
        self.name = _shown(settings)

    def close(self) -> None:
        """Let go of what is open."""
        self.__dict__.pop("microversion", None)
        self.forget()
        opened = getattr(self._adapter.session, "_session", None)
        if opened is not None:
            opened.close()

    @functools.cached_property
    def microversion(self) -> str:
        """The newest that both know.

        :raises Unavailable: when it is no Placement, or too old a one.
        """
        with session.errors_translated(self.name):
            try:
                data = self._adapter.get_endpoint_data()
            except exceptions.DiscoveryFailure:
                # It says the same of a server that is not there at all.
                self._adapter.get("/", authenticated=False)
                raise
        if not (data and data.max_microversion and data.min_microversion):
            raise errors.Unavailable(
                f"what answers {self.name} is no Placement; check"
                " [placement] endpoint_override or the service catalog"
            )
        for wanted in (TYPED, BASE):
            if discover.version_between(
                data.min_microversion, data.max_microversion, wanted
            ):
                return discover.version_to_string(wanted)
        raise errors.Unavailable(
            f"Placement {self.name} has microversions"
            f" {discover.version_to_string(data.min_microversion)} to"
            f" {discover.version_to_string(data.max_microversion)}, wanted"
            f" {discover.version_to_string(BASE)}; upgrade it (Ussuri or"
            " newer)"
        )

    @property
    def is_typed(self) -> bool:
        """Whether consumers have a type."""
        return self.microversion == discover.version_to_string(TYPED)

    def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        params: Iterable[tuple[str, str]] = (),
    ) -> Reply:
        """What Placement answers, whatever its status.

        :raises NoAnswer: when there is no answer.
        """
        version = self.microversion
        with session.errors_translated(self.name):
            answer = self._adapter.request(
                path,
                method,
                json=body,
                params=list(params),
                microversion=version,
                headers={"Accept": "application/json"},
            )
        return Reply(answer.status_code, _body(answer))

    def get(self, path: str, *params: tuple[str, str]) -> Json:
        """The body of what is there.

        :raises Unavailable: when that is nothing, or not let see.
        """
        return require_status(
            self.request("GET", path, params=params), self.name
        )

    def get_if_found(self, path: str) -> Json | None:
        """The same; None when there is nothing."""
        reply = self.request("GET", path)
        if reply.status == 404:
            return None
        return require_status(reply, self.name)

    def put(self, path: str, body: Json) -> Reply:
        """The answer to a PUT: done, or refused with a 400, 404 or 409."""
        return self._change("PUT", path, body)

    def update(self, path: str, body: Json, subject: str) -> Json:
        """PUT what a generation guards; the body of the answer.

        :param subject: what is changed, for messages.
        :raises Retry: when others changed it meanwhile, or it is gone.
        :raises Unavailable: when Placement does not understand it.
        """
        reply = self.put(path, body)
        if reply.status == 200:
            return reply.body
        detail = error_detail(reply)
        if reply.status == 400:
            if "No such" not in detail:
                raise errors.Unavailable(
                    f"Placement {self.name} refuses {subject} ({detail});"
                    " check the releases of both"
                )
            # Somebody took a trait or class away that nobody had yet.
            self.forget()
        raise retry_changed(subject, detail)

    def post(self, path: str, body: Json) -> Reply:
        """The same for a POST."""
        return self._change("POST", path, body)

    def delete(self, path: str) -> Reply:
        """The same for a DELETE."""
        return self._change("DELETE", path, None)

    def _change(self, method: str, path: str, body: Json | None) -> Reply:
        reply = self.request(method, path, body)
        require_status(reply, self.name, 200, 201, 204, 400, 404, 409)
        return reply

    def create_traits(self, names: Iterable[str]) -> None:
        """Make those traits that Placement has not.

        :raises Invalid: when it takes one of them for no trait.
        """
        missing = sorted(set(names) - self._known)
        for start in range(0, len(missing), _NAMES):
            some = missing[start : start + _NAMES]
            found = self.get("/traits", ("name", f"in:{','.join(some)}"))
            for name in set(some) - set(found["traits"]):
                reply = self.put(f"/traits/{name}", {})
                if reply.status == 400:
                    raise errors.Invalid(
                        f"Placement takes {name!r} for no trait; wanted one"
                        " of os-traits' or CUSTOM_[A-Z0-9_]+"
                    )
            self._known.update(some)

    def create_classes(self, names: Iterable[str]) -> None:
        """Make those resource classes that Placement has not."""
        own = {name for name in names if name.startswith("CUSTOM_")}
        for name in sorted(own - self._known_classes):
            reply = self.put(f"/resource_classes/{name}", {})
            require_status(reply, self.name, 201, 204)
            self._known_classes.add(name)

    def forget(self) -> None:
        """ClaimRequest up again which traits and classes there are."""
        self._known.clear()
        self._known_classes.clear()

    def retried(self, once: Callable[[int], T]) -> T:
        """What ``once`` returns, done again while that may help.

        :param once: is told how often it was done before.
        :raises Conflict: when others were faster time and again.
        :raises Unavailable: when there was no answer time and again.
        """
        until = time.monotonic() + _PATIENCE_S
        attempt = silent = 0
        while True:
            try:
                return once(attempt)
            except (Retry, session.NoAnswer) as error:
                silent += isinstance(
                    error, session.NoAnswer
                ) and not isinstance(error, ServerBusy)
                is_over = (
                    attempt >= _RETRIES
                    or silent > self._connect_retries
                    or time.monotonic() > until
                )
                if is_over:
                    raise _last(error, attempt + 1) from error
                _LOG.debug("request to Placement repeated: %s", error)
            longest_s = min(_MAX_INTERVAL_S, _INTERVAL_S * 2**attempt)
            time.sleep(random.uniform(0, longest_s))  # noqa: S311
            attempt += 1


def _last(error: Retry | session.NoAnswer, attempts: int) -> errors.Error:
    if isinstance(error, Retry):
        return error.error
    return errors.Unavailable(f"{error} (tried {attempts} times)")


def _body(answer: object) -> Json:
    try:
        found = answer.json()  # type: ignore[attr-defined]
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _shown(settings: Mapping[str, object]) -> str:
    """Where Placement is, for messages; a URL without its user."""
    for name in ("endpoint_override", "endpoint", "auth_url"):
        url = settings.get(name)
        if url:
            scheme, _, rest = str(url).partition("://")
            place, slash, path = rest.partition("/")
            shown = f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
            return f"by {shown}" if name == "auth_url" else f"at {shown}"
    return "of the service catalog"
