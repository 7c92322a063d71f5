"""Which release knows what."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_release
from gpu_passthrough_plugin.formats.nova_release import Feature, Release


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("26", 26),
        ("26.3.0", 26),
        ("Zed", 26),
        ("2023.1", 27),
        ("2025.1", 31),
        (" 34 ", 34),
        ("34.0.0", 34),
        ("34.0.0.0rc1", 34),
        ("33.1.0.dev12", 33),
        ("2026.2", 34),
        ("antelope", 27),
        ("Bobcat", 28),
        ("caracal", 29),
        ("dalmatian", 30),
        ("epoxy", 31),
        ("flamingo", 32),
        ("gazpacho", 33),
        ("hibiscus", 34),
    ],
)
def test_names(text: str, number: int) -> None:
    assert nova_release.parse(text) == Release(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25",
        "35",
        "2022.1",
        "2026",
        "yoga",
        "x",
        "3",
        ".",
        "31.",
        "31.x",
        "31.rc",
    ],
)
def test_no_release(text: str) -> None:
    with pytest.raises(errors.Invalid, match="26 to 34"):
        nova_release.parse(text)


def test_every_feature_is_dated() -> None:
    assert set(nova_release.SINCE) == set(Feature)
    assert set(nova_release.SINCE.values()) <= set(nova_release.CYCLES)


def test_debian_12() -> None:
    zed = Release(26)
    assert {f for f in Feature if zed.knows(f)} == {
        Feature.REPORT,
        Feature.SPEC_CLASS,
        Feature.SPEC_TRAITS,
    }
    assert not zed.has_placement
    assert str(zed) == "Nova 26 (zed)"


def test_the_newest_knows_all() -> None:
    assert all(map(nova_release.NEWEST.knows, Feature))
