"""Requests to Placement: the only place that sends them.

What Placement refuses because another client was faster is raised as
:class:`Retry`, and :meth:`Service.retry` runs the whole operation again,
which then reads again.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from keystoneauth1 import discover, exceptions

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import answers, session
from gpu_passthrough_plugin.allocation.placement.session import NoAnswer

T = TypeVar("T")
Json = Mapping[str, Any]

_LOG = logging.getLogger(__name__)

# 1.35 brought ``root_required``, 1.38 ``consumer_type``; 1.36 is the newest
# of Ussuri.  Source: placement, rest_api_version_history.rst.
OLDEST = (1, 36)
WITH_CONSUMER_TYPES = (1, 38)

_RETRIES = 20
_CONNECT_RETRIES = 3
_PATIENCE_S = 30.0
_INTERVAL_S = 0.05
_MAX_INTERVAL_S = 1.0
# A request line has a maximum length.
_TRAITS_IN_QUERY = 20


class Reply(NamedTuple):
    """An answer of Placement.

    :param age_s: since its body was changed; None where it does not say.
    """

    status: int
    body: Json
    age_s: float | None = None


class ConflictCode(enum.StrEnum):
    """Why Placement refused a request that was valid.

    Source: placement, errors.py.
    """

    # Another client took it, or its inventory changed: choose another.
    CAPACITY = "placement.undefined_code"
    # A generation is outdated: read again.
    CONCURRENT = "placement.concurrent_update"
    # A consumer has an allocation of what was to be removed.
    INVENTORY_IN_USE = "placement.inventory.inuse"
    PROVIDER_IN_USE = "placement.resource_provider.inuse"
    # The name is taken.
    DUPLICATE = "placement.duplicate_name"
    OTHER = ""


class ServerBusy(NoAnswer):
    """The server answered that it cannot serve requests now."""


class MalformedAnswer(errors.Unavailable):
    """An answer is not what Placement's documentation says it is."""


class Retry(Exception):
    """Another client was faster: read again, then do it again.

    :param error: to raise after the last attempt.
    """

    def __init__(self, error: errors.Conflict) -> None:
        super().__init__(str(error))
        self.error = error


def retry_changed(subject: str, detail: str) -> Retry:
    """Return the error of something that other clients changed meanwhile."""
    return Retry(
        errors.Conflict(
            f"other clients changed {subject} at each attempt ({detail});"
            " try again"
        )
    )


def conflict_code(reply: Reply) -> ConflictCode | None:
    """Return why a reply with status 409 refuses; None for other replies."""
    if reply.status != 409:
        return None
    code = str(_first_error(reply).get("code", ""))
    return (
        ConflictCode(code)
        if code in set(ConflictCode)
        else (ConflictCode.OTHER)
    )


def error_detail(reply: Reply) -> str:
    """Return Placement's own text of an error, in one line."""
    words = str(_first_error(reply).get("detail", "")).split()
    return " ".join(words) or f"status {reply.status}"


def _first_error(reply: Reply) -> Json:
    listed = reply.body.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], Mapping):
        return listed[0]
    return {}


class Service:
    """Placement, in one microversion and over one session.

    :ivar name: where it is, for messages; without a password.
    """

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Make a client; send nothing yet.

        :param settings: keystoneauth's options by name.
        :raises Invalid: when a setting is wrong or missing.
        """
        self._adapter = session.new_adapter(settings)
        self._connect_retries = int(
            str(settings.get("connect_retries") or _CONNECT_RETRIES)
        )
        self._existing_traits: set[str] = set()
        self._existing_classes: set[str] = set()
        self.name = session.location(settings)
        self._auth_url = str(settings.get("auth_url") or "")

    def close(self) -> None:
        """Close the connections; the next request opens them again."""
        self.__dict__.pop("microversion", None)
        self.forget()
        connections = getattr(self._adapter.session, "_session", None)
        if connections is not None:
            connections.close()

    @functools.cached_property
    def microversion(self) -> str:
        """The newest microversion that both sides know.

        :raises Unavailable: when the server is not a Placement, or too old.
        """
        with session.translate_errors(self.name, self._auth_url):
            try:
                endpoint = self._adapter.get_endpoint_data()
            except exceptions.DiscoveryFailure:
                # Raised for an unreachable server too: tell the two apart.
                self._adapter.get("/", authenticated=False)
                raise
            # keystoneauth believes the list of versions that it is given.
            except (TypeError, ValueError, LookupError, AttributeError):
                endpoint = None
        oldest = endpoint.min_microversion if endpoint else None
        newest = endpoint.max_microversion if endpoint else None
        if not (oldest and newest):
            raise errors.Unavailable(
                f"the server {self.name} is not a Placement; check"
                " [placement] endpoint_override or the service catalog"
            )
        for version in (WITH_CONSUMER_TYPES, OLDEST):
            if discover.version_between(oldest, newest, version):
                return discover.version_to_string(version)
        raise errors.Unavailable(
            f"Placement {self.name} has microversions"
            f" {discover.version_to_string(oldest)} to"
            f" {discover.version_to_string(newest)}, and"
            f" {discover.version_to_string(OLDEST)} is needed; upgrade it"
            " (Ussuri or newer)"
        )

    @property
    def has_consumer_types(self) -> bool:
        return self.microversion == discover.version_to_string(
            WITH_CONSUMER_TYPES
        )

    def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        params: Iterable[tuple[str, str]] = (),
    ) -> Reply:
        """Send a request and return the answer, of any status.

        :raises NoAnswer: when no answer came.
        :raises MalformedAnswer: when what came is malformed.
        """
        version = self.microversion
        with session.translate_errors(self.name, self._auth_url):
            response = self._adapter.request(
                path,
                method,
                json=body,
                params=list(params),
                microversion=version,
                headers={"Accept": "application/json"},
            )
        age_s = session.age_s(getattr(response, "headers", {}))
        reply = Reply(response.status_code, answers.body(response), age_s)
        if reply.status == 200:
            with self.readable():
                answers.require(method, path, reply.body)
        return reply

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Turn what is malformed in an answer into an error of Placement.

        :raises MalformedAnswer: when something inside is malformed.
        """
        try:
            yield
        except errors.Invalid as error:
            raise MalformedAnswer(
                f"Placement {self.name} gave a malformed answer ({error});"
                " check [placement] endpoint_override, and the releases of"
                " Placement and of this package"
            ) from error

    def get(self, path: str, *params: tuple[str, str]) -> Json:
        """Return the body of what is at a path.

        :raises Unavailable: when nothing is there, or access is refused.
        """
        return self.get_reply(path, *params).body

    def get_reply(self, path: str, *params: tuple[str, str]) -> Reply:
        """Return the whole answer of what is at a path; see ``get``."""
        reply = self.request("GET", path, params=params)
        self._body(reply, 200)
        return reply

    def providers(self, *params: tuple[str, str]) -> Iterable[Json]:
        """Return the entries of the providers that a query lists.

        :raises Unavailable: when access is refused, or one is malformed.
        """
        body = self.get("/resource_providers", *params)
        with self.readable():
            return answers.providers(body)

    def get_if_found(self, path: str) -> Json | None:
        """Return the body of what is at a path; None when nothing is there.

        :raises Unavailable: when access is refused.
        """
        reply = self.request("GET", path)
        return None if reply.status == 404 else self._body(reply, 200)

    def put(self, path: str, body: Json) -> Reply:
        """PUT and return the answer: done, or refused with 400, 404 or 409."""
        return self._change("PUT", path, body)

    def post(self, path: str, body: Json) -> Reply:
        """POST and return the answer: done, or refused with 400 or 409."""
        return self._change("POST", path, body)

    def delete(self, path: str) -> Reply:
        """DELETE and return the answer: done, or refused with 404 or 409."""
        return self._change("DELETE", path, None)

    def update(self, path: str, body: Json, subject: str) -> Json:
        """PUT a change that a generation guards; return the new body.

        :param subject: what is changed, for messages.
        :raises Retry: when another client changed or removed it.
        :raises Unavailable: when Placement does not understand the request.
        """
        reply = self.put(path, body)
        if reply.status == 200:
            return reply.body
        detail = error_detail(reply)
        if reply.status == 400:
            if "No such" not in detail:
                raise errors.Unavailable(
                    f"Placement {self.name} rejects {subject} ({detail});"
                    " check the releases of Placement and of this package"
                )
            # Another client deleted a trait or class that was not yet used.
            self.forget()
        raise retry_changed(subject, detail)

    def _change(self, method: str, path: str, body: Json | None) -> Reply:
        reply = self.request(method, path, body)
        self._body(reply, 200, 201, 204, 400, 404, 409)
        return reply

    def _body(self, reply: Reply, *expected: int) -> Json:
        """Return the body of an answer that has an expected status.

        :raises ServerBusy: when the server had a fault.
        :raises Unavailable: when it has any other status.
        """
        if reply.status in expected:
            return reply.body
        answer = f"status {reply.status}: {error_detail(reply)}"
        if reply.status >= 500:
            raise ServerBusy(
                f"Placement {self.name} had an error ({answer}); see its log"
            )
        if reply.status in (401, 403):
            raise errors.Unavailable(
                f"Placement {self.name} refuses access ({answer}); check"
                " [placement] auth_type, its credentials, and that they have"
                " the role admin or service"
            )
        raise errors.Unavailable(
            f"Placement {self.name} gave an unexpected answer ({answer});"
            " check [placement] endpoint_override, and the releases of"
            " Placement and of this package"
        )

    def create_traits(self, names: Iterable[str]) -> None:
        """Create the traits that Placement does not have.

        :raises Invalid: when one of them is not a valid trait.
        """
        missing = sorted(set(names) - self._existing_traits)
        for start in range(0, len(missing), _TRAITS_IN_QUERY):
            queried = missing[start : start + _TRAITS_IN_QUERY]
            body = self.get("/traits", ("name", f"in:{','.join(queried)}"))
            for name in set(queried) - set(body["traits"]):
                reply = self.put(f"/traits/{name}", {})
                if reply.status == 400:
                    raise errors.Invalid(
                        f"{name!r} is not a valid trait for Placement;"
                        " expected one of os-traits, or CUSTOM_[A-Z0-9_]+"
                    )
            self._existing_traits.update(queried)

    def create_classes(self, names: Iterable[str]) -> None:
        """Create the resource classes that Placement does not have."""
        custom = {name for name in names if name.startswith("CUSTOM_")}
        for name in sorted(custom - self._existing_classes):
            reply = self.put(f"/resource_classes/{name}", {})
            self._body(reply, 201, 204)
            self._existing_classes.add(name)

    def forget(self) -> None:
        """Look up again which traits and classes Placement has."""
        self._existing_traits.clear()
        self._existing_classes.clear()

    def retry(self, operation: Callable[[int], T]) -> T:
        """Return what ``operation`` returns; repeat it while that may help.

        Pauses between attempts have a random length that grows.

        :param operation: is given the number of attempts before this one.
        :raises Conflict: when other clients were faster at each attempt.
        :raises Unavailable: when Placement did not answer, or was busy, at
            each attempt.
        """
        deadline = time.monotonic() + _PATIENCE_S
        attempt = unanswered = 0
        while True:
            try:
                return operation(attempt)
            except (Retry, NoAnswer) as error:
                if not isinstance(error, (Retry, ServerBusy)):
                    unanswered += 1
                is_last = (
                    attempt >= _RETRIES
                    or unanswered > self._connect_retries
                    or time.monotonic() > deadline
                )
                if is_last:
                    raise _final_error(error, attempt + 1) from error
                _LOG.debug("repeating a request to Placement: %s", error)
            longest_s = min(_MAX_INTERVAL_S, _INTERVAL_S * 2**attempt)
            time.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret
            attempt += 1


def _final_error(error: Retry | NoAnswer, attempts: int) -> errors.Error:
    if isinstance(error, Retry):
        return error.error
    return errors.Unavailable(f"{error} (tried {attempts} times)")
