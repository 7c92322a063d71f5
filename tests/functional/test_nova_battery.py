"""Public configurations, by ``nova check`` and by real releases of Nova.

Each file below ``nova/battery/`` has fragments of nova.conf as guides,
deployment tools and Nova's own tests have them, with what real Nova makes of
each.  Nova judges all of them in one process; ``nova check`` has to say the
same, or the fragment says why not.  A fragment has these keys:

name, source
    what it shows, and where the like of it stands in public.  Names, ids and
    addresses are changed: to those of ``host``.
host
    which of ``tests.trees.nova_hosts`` it is tried on.
conf
    the text of a nova.conf.
verdict
    "fine"; or what does not start: "nova-compute", "nova-api" or
    "nova-scheduler", "report" where nova-compute cannot report the devices
    to Placement, "files" where oslo.config reads none of it; or the aliases
    that no flavor gets a device for.
other
    a verdict by the number of a release that has another one.
differs
    why ``nova check`` says something else; ``differs_on`` are the releases
    if not on all.
stricter
    the checks that fail although Nova is content: see ``verdicts.STRICTER``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.functional.lab import campaign
from tests.functional.nova import real_nova, verdicts
from tests.functional.nova.verdicts import Verdict

FRAGMENTS = Path(__file__).with_name("nova") / "battery"
# The newest release, and the oldest that runs on the tests' Python.
RELEASES = [*real_nova.RELEASES] if campaign.is_whole() else [34, 29]


class Fragment(NamedTuple):
    """One configuration; the module's text has its keys."""

    name: str
    source: str
    host: str
    conf: str
    verdict: Verdict
    other: Mapping[str, Verdict] = {}
    differs: str = ""
    differs_on: Sequence[int] = tuple(real_nova.RELEASES)
    stricter: Sequence[str] = ()

    def expected(self, number: int) -> Verdict:
        return self.other.get(str(number), self.verdict)


def _read() -> Mapping[str, Fragment]:
    read = [
        Fragment(**fragment)
        for path in sorted(FRAGMENTS.glob("*.toml"))
        for fragment in tomllib.loads(path.read_text("utf-8"))["fragment"]
    ]
    by_name = {fragment.name: fragment for fragment in read}
    assert len(by_name) == len(read)
    return by_name


BATTERY = _read()


@pytest.fixture(scope="module")
def novas(
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[int, Mapping[str, Verdict]]:
    """What each release of Nova makes of each fragment."""
    folder = tmp_path_factory.mktemp("judge")
    by_release = {}
    for number in RELEASES:
        with real_nova.started(number, folder / f"{number}") as nova:
            by_release[number] = {
                fragment.name: verdicts.of_nova(
                    nova, fragment.host, fragment.conf
                )
                for fragment in BATTERY.values()
            }
    return by_release


@pytest.mark.parametrize("number", RELEASES)
@pytest.mark.parametrize("name", BATTERY)
def test_nova_says_what_the_fragment_says(
    name: str, number: int, novas: Mapping[int, Mapping[str, Verdict]]
) -> None:
    assert novas[number][name] == BATTERY[name].expected(number)


@pytest.mark.parametrize("number", real_nova.RELEASES)
@pytest.mark.parametrize("name", BATTERY)
def test_nova_check_says_what_nova_says(name: str, number: int) -> None:
    fragment = BATTERY[name]
    verdict, _ = verdicts.of_check(fragment.host, fragment.conf, number)
    is_same = verdict == verdicts.simplified(fragment.expected(number))
    may_differ = bool(fragment.differs) and number in fragment.differs_on
    assert is_same != may_differ, (verdict, fragment.expected(number))


@pytest.mark.parametrize("name", BATTERY)
def test_only_what_is_told_is_stricter_than_nova(name: str) -> None:
    fragment = BATTERY[name]
    _, stricter = verdicts.of_check(fragment.host, fragment.conf, RELEASES[0])
    assert stricter == [*fragment.stricter]


def test_there_are_enough_fragments_and_few_differences() -> None:
    confs = {(f.host, f.conf) for f in BATTERY.values()}
    assert len(confs) == len(BATTERY) >= 150
    assert sum(bool(f.differs) for f in BATTERY.values()) * 10 < len(BATTERY)
