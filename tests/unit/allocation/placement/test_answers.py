"""What of Placement's answers is malformed, and where."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import answers

U = "/resource_providers/u"
COUNTER = {"total": 16, "min_unit": 2, "max_unit": 3}
SUMMARY = {"resources": {}, "traits": ["A"], "root_provider_uuid": "r"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/traits", {"traits": ["A"]}),
        ("GET", U, {"uuid": "u", "name": "n", "generation": 0}),
        (
            "PUT",
            f"{U}/inventories",
            {"resource_provider_generation": 1, "inventories": {"A": COUNTER}},
        ),
        ("GET", f"{U}/allocations", {"allocations": {"c": {"resources": {}}}}),
        ("PUT", "/traits/A", {}),
        ("GET", "/", {"anything": 1}),
    ],
)
def test_what_is_as_documented(method: str, path: str, body: object) -> None:
    answers.require(method, path, body)


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/traits", None, "GET /traits None"),
        ("/traits", {}, "/traits/traits None"),
        ("/traits", {"traits": [1]}, "traits 1"),
        ("/resource_providers", {"resource_providers": {}}, "a list"),
        (U, {"uuid": "u", "name": "n", "generation": True}, "True"),
        (U, {"uuid": "u", "name": "n", "generation": -1}, "-1"),
        (
            f"{U}/inventories",
            {
                "resource_provider_generation": 1,
                "inventories": {"A": COUNTER | {"total": "x" * 99}},
            },
            r"inventories/A/total 'x+….*a number",
        ),
        (f"{U}/allocations", {"allocations": {"c": []}}, "allocations/c"),
    ],
)
def test_what_is_malformed(path: str, body: object, place: str) -> None:
    with pytest.raises(errors.Invalid, match=place):
        answers.require("GET", path, body)


def test_consumers_have_a_type_or_none() -> None:
    consumer = {
        "consumer_generation": 1,
        "project_id": "p",
        "user_id": "u",
    }
    answers.require_consumer(consumer, "consumer c")
    answers.require_consumer(consumer | {"consumer_type": "T"}, "consumer c")
    with pytest.raises(errors.Invalid, match="consumer c/consumer_type 1"):
        answers.require_consumer(consumer | {"consumer_type": 1}, "consumer c")


def test_entries_are_checked_one_by_one() -> None:
    entry = {
        "uuid": "u",
        "name": "n",
        "generation": 0,
        "root_provider_uuid": "r",
    }
    assert answers.is_provider(entry)
    assert not answers.is_provider(entry | {"name": None})
    assert answers.is_summary(SUMMARY)
    assert not answers.is_summary(SUMMARY | {"traits": None})
    assert answers.root_in(SUMMARY) == "r"
    assert answers.root_in([]) == ""
    with pytest.raises(errors.Invalid, match="the provider None"):
        answers.providers({"resource_providers": [entry, None]})
