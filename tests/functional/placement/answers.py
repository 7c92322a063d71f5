"""Answers of a real Placement, to be given again with something odd."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ODD: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1,
    15,
    2**70,
    1.5,
    "",
    "zz",
    "CUSTOM_GPUPT_F_X",
    "CUSTOM_GPUPT_WHY_0_0_1",
    [],
    {},
    [None],
    {"a": None},
)
Path = tuple[str | int, ...]
Place = tuple["Key", Path]
Key = tuple[str, str, str, str]
"""A request: method, path, parameters and body."""


class Answer:
    """What keystoneauth's adapter returns for a request."""

    def __init__(self, status: int, body: object) -> None:
        self.status_code = status
        self._body = body

    def json(self) -> object:
        return copy.deepcopy(self._body)


class Recording:
    """An adapter that passes requests on, and keeps the answers."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self.session = adapter.session
        self.answers: dict[Key, list[Answer]] = {}

    def get_endpoint_data(self) -> Any:
        return self._adapter.get_endpoint_data()

    def request(self, path: str, method: str, **options: Any) -> Answer:
        answer = self.pass_on(path, method, options)
        key = _key(path, method, options)
        self.answers.setdefault(key, []).append(answer)
        return answer

    def pass_on(
        self, path: str, method: str, options: Mapping[str, Any]
    ) -> Answer:
        response = self._adapter.request(path, method, **options)
        try:
            body = response.json()
        except ValueError:
            body = None
        return Answer(response.status_code, body)


class Replay:
    """An adapter that gives recorded answers again, one of them changed.

    :param changed: the place of the change, and what is there instead.
    """

    def __init__(
        self, recording: Recording, changed: tuple[Place, Any] | None
    ) -> None:
        self._recording = recording
        self.session = recording.session
        self._left = {k: list(v) for k, v in recording.answers.items()}
        self._changed = changed

    def get_endpoint_data(self) -> Any:
        return self._recording.get_endpoint_data()

    def request(self, path: str, method: str, **options: Any) -> Answer:
        key = _key(path, method, options)
        left = self._left.get(key)
        if not left:
            # What was recorded does not say; nothing is changed there.
            if method == "GET":
                return self._recording.pass_on(path, method, options)
            return Answer(404, {"errors": []})
        answer = left.pop(0) if len(left) > 1 else left[0]
        if self._changed is not None and self._changed[0][0] == key:
            (_, place), change = self._changed
            return Answer(answer.status_code, change(answer.json(), place))
        return answer


def _key(path: str, method: str, options: Mapping[str, Any]) -> Key:
    body = json.dumps(options.get("json"), sort_keys=True)
    return method, path, str(options.get("params")), body


def places(recording: Recording) -> list[Place]:
    """Return every place of every body that was recorded."""
    return [
        (key, path)
        for key, answers in recording.answers.items()
        if answers[0].status_code == 200
        for path in _paths(answers[0].json())
    ]


def _paths(value: object, prefix: Path = ()) -> Iterator[Path]:
    yield prefix
    items: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    for key, item in items:
        yield from _paths(item, (*prefix, key))


def changes(dice: random.Random) -> Callable[[Any, Path], Any]:
    """Return a change of a body at a place: left out, renamed or odd."""
    how = dice.choice(("odd", "odd", "odd", "drop", "rename", "more"))
    odd = dice.choice(_ODD)

    def change(body: Any, place: Path) -> Any:
        if not place:
            return odd
        holder: Any = body
        # Another answer to the same request may have no such place.
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for key in place[:-1]:
                holder = holder[key]
            _spoil(holder, place[-1], how, odd)
        return body

    return change


def _spoil(holder: Any, key: Any, how: str, odd: object) -> None:
    value = holder.pop(key)
    if how == "drop":
        return
    if isinstance(holder, list):
        holder.insert(key, value if how == "more" else odd)
        if how == "more":
            holder.append(odd)
    elif how == "rename":
        holder[f"{key}x"] = value
    else:
        holder[key] = odd
