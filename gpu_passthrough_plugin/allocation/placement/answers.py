"""What Placement's answers have to look like before they are used.

An answer that does not is one error, which says what is odd in it; the
entries of lists of hosts and units are checked one by one instead, so that
an odd one stays a matter of its own host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gpu_passthrough_plugin import errors


def body(response: Any) -> Mapping[str, Any]:
    """Return the JSON object that an answer has; {} if it has none."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, Mapping) else {}


Shape = Callable[[object, str], None]
"""Raises Invalid if a value is not of a shape; names where the value is."""


def _number(value: object, place: str) -> None:
    if type(value) is not int or value < 0:
        raise errors.not_valid(place, value, "a number")


def _text(value: object, place: str) -> None:
    if not isinstance(value, str):
        raise errors.not_valid(place, value, "text")


def _anything(value: object, place: str) -> None:
    pass


def _optional(shape: Shape) -> Shape:
    def check(value: object, place: str) -> None:
        if value is not None:
            shape(value, place)

    return check


def _list_of(shape: Shape) -> Shape:
    def check(value: object, place: str) -> None:
        if not isinstance(value, list):
            raise errors.not_valid(place, value, "a list")
        for item in value:
            shape(item, place)

    return check


def _map_of(shape: Shape) -> Shape:
    def check(value: object, place: str) -> None:
        if not isinstance(value, Mapping):
            raise errors.not_valid(place, value, "an object")
        for key, item in value.items():
            shape(item, f"{place}/{key}")

    return check


def _object(**fields: Shape) -> Shape:
    def check(value: object, place: str) -> None:
        if not isinstance(value, Mapping):
            raise errors.not_valid(place, value, "an object")
        for name, shape in fields.items():
            shape(value.get(name), f"{place}/{name}")

    return check


_GENERATION = {"resource_provider_generation": _number}
_AMOUNTS = _object(resources=_map_of(_number))
_PROVIDER = _object(uuid=_text, name=_text, generation=_number)
_LISTED = _object(
    uuid=_text, name=_text, generation=_number, root_provider_uuid=_text
)
_INVENTORY = _object(total=_number, min_unit=_number, max_unit=_number)
_SUMMARY = _object(
    resources=_map_of(_object(capacity=_number, used=_number)),
    traits=_list_of(_text),
    root_provider_uuid=_text,
)

# By method and path.  Source: the API reference of Placement.
_SHAPES: tuple[tuple[re.Pattern[str], Shape], ...] = tuple(
    (re.compile(pattern), shape)
    for pattern, shape in (
        (
            "GET /resource_providers",
            _object(resource_providers=_list_of(_anything)),
        ),
        ("POST /resource_providers", _PROVIDER),
        ("GET /resource_providers/[^/]+", _PROVIDER),
        (
            "(GET|PUT) /resource_providers/[^/]+/inventories",
            _object(inventories=_map_of(_INVENTORY), **_GENERATION),
        ),
        (
            "(GET|PUT) /resource_providers/[^/]+/traits",
            _object(traits=_list_of(_text), **_GENERATION),
        ),
        (
            "(GET|PUT) /resource_providers/[^/]+/aggregates",
            _object(aggregates=_list_of(_text), **_GENERATION),
        ),
        (
            "GET /resource_providers/[^/]+/allocations",
            _object(allocations=_map_of(_AMOUNTS)),
        ),
        ("GET /allocations/[^/]+", _object(allocations=_map_of(_AMOUNTS))),
        (
            "GET /allocation_candidates",
            _object(provider_summaries=_map_of(_anything)),
        ),
        ("GET /traits", _object(traits=_list_of(_text))),
    )
)
_CONSUMER = _object(
    consumer_generation=_number,
    project_id=_text,
    user_id=_text,
    consumer_type=_optional(_text),
)


def require(method: str, path: str, body: object) -> None:
    """Raise if the body of an answer with status 200 is malformed.

    :raises Invalid: when it is, or when its parts are not of their kinds.
    """
    for pattern, shape in _SHAPES:
        if pattern.fullmatch(f"{method} {path}"):
            shape(body, f"{method} {path}")


def require_consumer(body: object, place: str) -> None:
    """Raise if the body of a consumer that has allocations is malformed."""
    _CONSUMER(body, place)


def require_provider(entry: object) -> None:
    """Raise if an entry of a list of providers is malformed."""
    _LISTED(entry, "the provider")


def is_provider(entry: object) -> bool:
    """Return whether an entry of a list of providers is well-formed."""
    return _is_of(_LISTED, entry)


def require_summary(summary: object) -> None:
    """Raise if the summary of a provider is malformed."""
    _SUMMARY(summary, "the summary")


def is_summary(summary: object) -> bool:
    """Return whether the summary of a provider is well-formed."""
    return _is_of(_SUMMARY, summary)


def root_in(summary: object) -> str:
    """Return the root provider that a summary names; "" if it names none."""
    root = isinstance(summary, Mapping) and summary.get("root_provider_uuid")
    return root if isinstance(root, str) else ""


def _is_of(shape: Shape, value: object) -> bool:
    try:
        shape(value, "")
    except errors.Invalid:
        return False
    return True


def providers(body: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return the entries of a list of providers.

    :raises Invalid: when one of them is malformed.
    """
    for entry in body["resource_providers"]:
        require_provider(entry)
    entries: Iterable[Mapping[str, Any]] = body["resource_providers"]
    return entries
