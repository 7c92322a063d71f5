"""Whole configurations on described hosts, and how findings are reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova.lint import check, configuration
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.fleet import handed
from tests.unit.nova.lint.build import (
    FILTER,
    FLEX,
    GPU,
    faults,
    findings,
    groups,
    is_left_open,
    kinds,
    pci,
)

DISPLAY = {"address": "0000:04:00.0"}
FOUR = [{"address": f"0000:04:00.{n}", "iommu_group": "a"} for n in range(4)]
NETWORK = {"address": "0000:05:00.0", "physical_network": "physnet0"}


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (hosts.four_functions, pci([DISPLAY], [GPU])),
        (hosts.four_functions, FILTER + pci(FOUR, [GPU])),
        (hosts.four_functions, pci([{"vendor_id": "0x10DE",
                                     "product_id": "1E87"}])),
        (hosts.virtual_functions, pci([DISPLAY], [FLEX])),
        # A network's physical function goes with its virtual ones.
        (hosts.virtual_functions, pci([NETWORK])),
        (hosts.virtual_functions, pci([{"product_id": "1018"}])),
    ],
)  # fmt: skip
def test_nothing_is_wrong(host: Callable[[], Host], text: str) -> None:
    assert faults(host(), text) == []


def test_only_the_checks_of_what_is_set_are_reported() -> None:
    host = hosts.four_functions()
    specs = [f.check for f in findings(host, pci([DISPLAY]))]
    aliases = [f.check for f in findings(host, pci([], [GPU]))]
    both = [f.check for f in findings(host, pci([DISPLAY], [GPU]))]
    always = {*specs} & {*aliases}
    assert always == {"options", "placement", "traits"}
    assert len(both) == len(specs) + len(aliases) - len(always)
    assert all(f.status is Status.PASS for f in findings(host, pci([DISPLAY])))


def test_several_faults_are_reported_together() -> None:
    text = (
        "[pci]\ndevice_spec = {\ndevice_spec = 5\n"
        'device_spec = {"vendor_id": 4318}\n'
        'device_spec = [{"product_id": "12345"}, {"product_id": "1e87"}]\n'
        'alias = {"nam": "x"}\n'
    )
    found = faults(hosts.four_functions(), text)
    assert [f.where for f in found] == [
        "nova.conf:2", "nova.conf:3", "nova.conf:4", "nova.conf:5",
        "nova.conf:6", "nova.conf:6",
    ]  # fmt: skip


def test_a_file_s_name_is_shown_in_one_line() -> None:
    conf = configuration.read([("no\nva\x1b.conf", b"[pci]\nalias = 5\n")])
    found = check.findings(conf, groups(hosts.server()))
    assert {f.where for f in found if f.where} == {"no\\nva\\x1b.conf:2"}


def test_nothing_to_look_at() -> None:
    text = "[DEFAULT]\ndebug = True\n"
    assert kinds(hosts.server(), text) == [("values", Status.WARN)]


def test_every_rule_is_reported_under_a_check() -> None:
    names = {rule.check for rule in check.RULES}
    text = FILTER + pci([DISPLAY], [GPU])
    host = handed(hosts.four_functions()).hardware
    conf = configuration.read([("nova.conf", text.encode())])
    found = check.findings(conf, groups(hosts.four_functions()), hardware=host)
    assert names == {f.check for f in found}


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (
            pci([DISPLAY], [GPU]) + "alias = {\n",
            {"alias names", "alias matches", "traits"},
        ),
        ("[pci]\nalias = {", {"alias names", "alias matches", "traits"}),
        (
            pci([DISPLAY], [GPU]) + "device_spec = {\n",
            {
                "matches", "greedy", "groups", "sriov", "bridges", "host",
                "keys", "traits", "alias matches",
            },
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_passes_no_check(
    text: str, unknown: set[str]
) -> None:
    found = findings(hosts.four_functions(), text)
    left_open = [f for f in found if is_left_open(f)]
    assert {f.check for f in left_open} == unknown
    line = text.rstrip().count("\n") + 1
    assert {f.where for f in left_open} == {f"nova.conf:{line}"}
    assert {f.status for f in left_open} == {Status.WARN}
    failed = {f.check for f in found if f.status is Status.FAIL}
    assert failed <= {"values", "aliases"}


def test_where_is_short_whatever_cannot_be_read() -> None:
    text = "[pci]\n" + "alias = {\n" * 100
    found = findings(hosts.four_functions(), text)
    assert {f.where for f in found if is_left_open(f)} == {
        "nova.conf:2 and 99 more"
    }


def test_an_alias_is_not_unlisted_while_an_entry_cannot_be_read() -> None:
    text = pci([], [GPU]) + 'device_spec = {"vendor_id": 5}\n'
    found = [
        f
        for f in findings(hosts.four_functions(), text)
        if f.check == "alias matches"
    ]
    assert list(map(is_left_open, found)) == [True]
