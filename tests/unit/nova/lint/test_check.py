"""One fault planted at a time, on described hosts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.nova.lint import check, configuration
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.lint.build import FILTER, faults, findings, groups, pci

FAIL, WARN = Status.FAIL, Status.WARN

DISPLAY = {"address": "0000:04:00.0"}
FOUR = [{"address": f"0000:04:00.{n}", "iommu_group": "a"} for n in range(4)]
GPU = {"name": "gpu", "vendor_id": "10de", "product_id": "1e87",
       "device_type": "type-PCI"}  # fmt: skip
FLEX = {"name": "flex", "vendor_id": "8086", "product_id": "56c0",
        "device_type": "type-PF"}  # fmt: skip
NETWORK = {"address": "0000:05:00.0", "physical_network": "physnet0"}


def only(found: tuple[Finding, ...]) -> Finding:
    (one,) = (f for f in found if f.status is not Status.PASS)
    return one


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (hosts.four_functions, pci([DISPLAY], [GPU])),
        (hosts.four_functions, FILTER + pci(FOUR, [GPU])),
        (hosts.four_functions, pci([{"vendor_id": "0x10DE",
                                     "product_id": "1E87"}])),
        (hosts.four_functions, pci([], [GPU])),
        # One function stands for a group of two cards.
        (hosts.shared_group, pci([{"address": "0000:05:01.0"}])),
        (hosts.virtual_functions, pci([DISPLAY], [FLEX])),
        # A network's physical function goes with its virtual ones.
        (hosts.virtual_functions, pci([NETWORK])),
        (hosts.virtual_functions, pci([{"product_id": "1018"}])),
    ],
)  # fmt: skip
def test_nothing_is_said_of_what_is_right(
    host: Callable[[], Host], text: str
) -> None:
    assert faults(host(), text) == []


@pytest.mark.parametrize(
    ("host", "specs", "check", "status", "said"),
    [
        (hosts.four_functions, [{"address": "0000:09:00.0"}], "matches", WARN,
         "nova.conf:2: matches no function"),
        (hosts.four_functions,
         [{"product_id": "1e87"}, {"address": "0000:04:00.0"}], "matches",
         WARN, "nova.conf:3: has no effect: nova.conf:2 matches"),
        (hosts.four_functions, [{"devname": "eno1"}], "matches", WARN,
         "which function 'eno1' is"),
        (hosts.four_functions, FOUR[:2], "groups", FAIL,
         "nova.conf:2, nova.conf:3: lists 0000:04:00.0, 0000:04:00.1: half"),
        (hosts.four_functions, [{"address": "0000:04:00.1"}], "groups", FAIL,
         "a companion of 0000:04:00.0"),
        (hosts.four_functions, [{"address": "0000:04:00"}], "groups", FAIL,
         "nothing keeps them together"),
        (hosts.four_functions, [*FOUR[:3], FOUR[3] | {"iommu_group": "b"}],
         "groups", FAIL, "different iommu_group tags"),
        (hosts.four_functions, [s | {"iommu_group_size": "3"} for s in FOUR],
         "groups", FAIL, "an iommu_group_size that is not 4"),
        (hosts.shared_group,
         [{"class": "x", "address": "0000:05:0*.0"}], "values", FAIL,
         "slot is '0*'; wanted hexadecimal digits"),
        (hosts.virtual_functions, [{"address": "0000:04:00.0",
                                    "vendor_id": "8086", "trait": "X"}],
         "keys", WARN, "'trait' is no key"),
        (hosts.virtual_functions,
         [{"product_id": "1018", "one_time_use": "yes"}], "sriov", FAIL,
         "which is a virtual function"),
        (hosts.four_functions, [DISPLAY | {"traits": "CUSTOM_A, CUSTOM_B"}],
         "traits", FAIL, "keeps the space in ' CUSTOM_B' and reads CUSTOM__"),
        (hosts.four_functions, [DISPLAY | {"traits": "CUSTOM_A,"}],
         "traits", FAIL, "'' is no trait"),
        (hosts.dead_card, [DISPLAY], "host", FAIL, "does not answer"),
        (hosts.four_functions, [{"address": "0000:01:00.0"}], "host", FAIL,
         "the host needs 0000:01:00.0 for mount /"),
        (hosts.four_functions, [{"address": "0000:03:00.0"}], "host", FAIL,
         "management controller"),
        (hosts.four_functions, [DISPLAY, {"address": "0000:00:01.0"}],
         "bridges", FAIL, "0000:00:01.0, which no guest can have"),
    ],
)  # fmt: skip
def test_an_entry_with_one_fault(
    host: Callable[[], Host],
    specs: list[object],
    check: str,
    status: Status,
    said: str,
) -> None:
    found = [
        f for f in findings(host(), pci(specs)) if f.status is not Status.PASS
    ]
    assert (check, status) in [(f.check, f.status) for f in found]
    assert any(said in f"{f.where}: {f.detail}" for f in found), found
    assert all(f.remedy and f.check == check for f in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("04:00.0", ""),
        ("00.0", "7 cards"),
        (":00.0", "7 cards"),
        ({"bus": "0", "slot": "00", "function": "0"}, "7 cards"),
        ({"domain": ".*", "bus": "0", "function": "0"}, "7 cards"),
        ({"bus": "04", "slot": "00", "function": "0"}, ""),
        ({"bus": "0[45]", "slot": "00", "function": "0"}, ""),
        ("*:*:00.0", ""),
    ],
)
def test_an_address_that_means_one_card_and_matches_more(
    text: object, said: str
) -> None:
    greedy = [
        f.detail
        for f in findings(hosts.shared_group(), pci([{"address": text}]))
        if f.check == "greedy" and f.status is WARN
    ]
    assert bool(greedy) == bool(said)


@pytest.mark.parametrize("spec", [{}, {"address": ""}, {"managed": "no"}])
def test_an_entry_that_matches_everything(spec: object) -> None:
    found = faults(hosts.four_functions(), pci([spec]))
    assert ("greedy", FAIL) in found
    assert ("bridges", FAIL) in found
    assert ("host", FAIL) in found


def test_a_tag_of_two_groups() -> None:
    specs = [
        {"address": a, "iommu_group": "x"}
        for a in ("0000:05:01.0", "0000:06:00.0")
    ]
    one = only(findings(hosts.shared_group(), pci(specs)))
    assert "'x' is on functions of several groups" in one.detail


@pytest.mark.parametrize(
    ("release", "extra", "said"),
    [
        (26, "", "a filter that needs"),
        (34, "[filter_scheduler]\npci_in_placement = 0\n", "a filter that"),
        (34, f"{FILTER}enabled_filters = A, PciPassthroughFilter\n",
         "enabled_filters has no IommuGroupFilter"),
    ],
)  # fmt: skip
def test_full_mode_without_what_it_needs(
    release: int, extra: str, said: str
) -> None:
    host, text = hosts.four_functions(), extra + pci(FOUR)
    assert said in only(findings(host, text, Release(release))).detail


def test_full_mode_with_its_filter() -> None:
    text = f"{FILTER}enabled_filters = A,IommuGroupFilter\n{pci(FOUR)}"
    assert faults(hosts.four_functions(), text) == []


@pytest.mark.parametrize(
    ("release", "key", "known"),
    [
        (30, "managed", False),
        (31, "managed", True),
        (31, "one_time_use", False),
        (32, "one_time_use", True),
        (30, "live_migratable", False),
    ],
)
def test_keys_that_a_release_does_not_know(
    release: int, key: str, known: bool
) -> None:
    text = pci([DISPLAY | {key: "yes"}])
    wanted = [] if known else [("keys", WARN)]
    assert faults(hosts.four_functions(), text, Release(release)) == wanted


def test_an_older_spelling_and_a_switch_that_is_off() -> None:
    text = (
        '[pci]\npassthrough_whitelist = {"address": "0000:04:00.0",'
        ' "one_time_use": "yes"}\nreport_in_placement = False\n'
    )
    assert faults(hosts.four_functions(), text) == [
        ("keys", WARN),
        ("keys", FAIL),
    ]


@pytest.mark.parametrize("address", ["0000:05:00.0", "*:05:00.*", "5:0.*"])
def test_a_physical_function_beside_its_virtual_ones(address: str) -> None:
    host = hosts.virtual_functions()
    found = findings(host, pci([{"address": address}]))
    assert [f.check for f in found if f.status is FAIL] == ["sriov", "host"]
    assert any(
        "lists 0000:05:00.0 and its virtual functions 0000:05:00.1,"
        " 0000:05:00.2" in f.detail
        for f in found
    )
    exact = pci([{"address": address, "product_id": "1018"}])
    assert faults(host, exact) == []


def test_several_faults_are_reported_together() -> None:
    text = (
        "[pci]\ndevice_spec = {\ndevice_spec = 5\n"
        'device_spec = {"vendor_id": 4318}\n'
        'device_spec = [{"product_id": "12345"}, {"product_id": "1e87"}]\n'
        'alias = {"nam": "x"}\n'
    )
    found = [
        f.where
        for f in findings(hosts.four_functions(), text)
        if f.status is FAIL
    ]
    assert found == [
        "nova.conf:2", "nova.conf:3", "nova.conf:4", "nova.conf:5",
        "nova.conf:6", "nova.conf:6",
    ]  # fmt: skip


def test_a_files_name_is_shown_in_one_line() -> None:
    read = configuration.read(
        [("no\nva\x1b.conf", b"[pci]\ndevice_spec = 5\n")]
    )
    found = check.findings(read, groups(hosts.server()))
    assert only(found).where == "no\\nva\\x1b.conf:2"


def test_nothing_to_look_at() -> None:
    assert faults(hosts.server(), "[DEFAULT]\ndebug = True\n") == [
        ("values", WARN)
    ]
