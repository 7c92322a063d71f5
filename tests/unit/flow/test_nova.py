"""Hosts as they are handed to Nova, and the files that come of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import host_snapshot, nova
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector, trait
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord
from gpu_passthrough_plugin.nova import control_plane
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.lint import configuration
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.golden import assert_golden, sections
from tests.trees import host as described
from tests.trees import hosts

GPUS = Policy((selector.parse("class=03"),))


def here(host: described.Host, name: str = "c1") -> ComputeHost:
    return nova.this_host(host.tree(), GPUS, name)


def record(
    host: ComputeHost, state: State = State.FREE, *, is_missing: bool = False
) -> UnitRecord:
    """The host's first unit, as the ledger has it."""
    return UnitRecord(host.units[0], state, None, 1, is_missing, "")


def texts(
    hosts: Sequence[ComputeHost], options: NovaOptions | None = None
) -> dict[str, str]:
    parts = nova.generate(hosts, options or NovaOptions(), by_name=True)
    return {part.name: part.text for part in parts}


def test_a_host_with_what_it_refuses() -> None:
    host = here(hosts.four_functions())
    assert [str(u.key.address) for u in host.units] == ["0000:04:00.0"]
    assert [g.number for g in host.refused] == [12]
    assert trait.UNISOLATED not in host.units[0].traits


def test_a_kernel_that_takes_functions_for_isolated() -> None:
    host = hosts.four_functions()
    host.file("proc/cmdline", "quiet pcie_acs_override=downstream\n")
    assert trait.UNISOLATED in here(host).units[0].traits


def test_a_selected_function_with_the_header_of_a_bridge() -> None:
    host = described.Host()
    host.function(
        "0000:06:00.0", "10de:1430", "030000", group=18, below="0000:07"
    )
    with pytest.raises(errors.Refused):
        nova.generate([here(host)], NovaOptions())
    groups = host_snapshot.read(host.tree(), GPUS).groups()
    with pytest.raises(errors.Refused, match=r"0000:06:00\.0"):
        nova.generate([ComputeHost("c1", (), groups)], NovaOptions())


def test_every_file_once() -> None:
    host = here(hosts.four_functions())
    parts = nova.generate([host], NovaOptions())
    assert [part.name for part in parts] == [
        "gpu-compute.conf", "gpu-alias.conf", "gpu-scheduler.conf",
        "gpu-placement.conf", "gpu-flavors.sh",
    ]  # fmt: skip
    assert parts[0].goes_to == "/etc/nova/nova.conf.d/ of nova-compute on c1"
    assert [oct(p.mode) for p in parts] == ["0o644"] * 4 + ["0o755"]


def test_one_control_plane_for_all_hosts() -> None:
    found = texts(
        [
            here(hosts.four_functions(), "c1"),
            here(hosts.shared_group(), "c2"),
            here(hosts.four_functions(), "c3"),
            here(hosts.dead_card(), "c4"),
        ]
    )
    files = [f"gpu-compute-c{number}.conf" for number in (1, 2, 3, 4)]
    assert list(found)[:4] == files
    assert found[files[0]].count("device_spec = ") == 1
    assert found[files[1]].count("device_spec = ") == 2
    assert "device_spec =" not in found[files[3]]
    names = [
        json.loads(line.partition(" = ")[2])["name"]
        for line in found["gpu-alias.conf"].splitlines()
        if line.startswith("alias = ")
    ]
    assert len(set(names)) == len(names) == 3


def test_filters_of_the_operators() -> None:
    host = here(hosts.four_functions())
    parts = nova.generate([host], NovaOptions(mode=Mode.FULL), ("MyFilter",))
    (line,) = (
        line
        for line in parts[2].text.splitlines()
        if line.startswith("enabled_filters = ")
    )
    assert line == (
        "enabled_filters ="
        f" MyFilter,IommuGroupFilter,{control_plane.PCI_FILTER}"
    )


def test_what_was_chosen_in_vain_is_said() -> None:
    old, new = (
        NovaOptions(Release(30), one_time_use=True),
        NovaOptions(one_time_use=True),
    )
    (omitted,) = nova.notes(old, None)
    assert omitted.startswith("omitted: one_time_use ")
    assert " does not have " in omitted
    assert list(nova.notes(new, ("ComputeFilter", "IommuGroupFilter"))) == []
    (warning,) = nova.notes(new, ("ComputeFilter", "ComputFilter", "Mine"))
    assert warning.startswith("warning: --enabled-filters: ComputFilter, Mine")
    names = ("AvailabilityZoneFilter",)
    assert list(nova.notes(NovaOptions(Release(27)), names)) == []
    assert "AvailabilityZoneFilter" in next(nova.notes(new, names))


def test_what_the_ledger_has_by_host() -> None:
    one, two = here(hosts.four_functions(), "b"), here(hosts.amd(), "a")
    said: list[str] = []
    found = nova.ledger_hosts(
        [record(one), record(two, State.ACTIVE)], said.append
    )
    assert [(h.name, h.units) for h in found] == [
        ("a", two.units),
        ("b", one.units),
    ]
    assert said == []


def test_what_nobody_can_be_given_is_left_out_and_said() -> None:
    host = here(hosts.four_functions())
    for left, word in (
        (record(host, State.QUARANTINED), "quarantined"),
        (record(host, State.ACTIVE, is_missing=True), "missing"),
    ):
        said: list[str] = []
        (found,) = nova.ledger_hosts([left], said.append)
        assert found.units == ()
        assert len(said) == 1
        assert "c1/0000:04:00.0" in said[0]
        assert word in said[0]


def test_a_ledger_without_units() -> None:
    with pytest.raises(errors.Refused, match="inventory sync"):
        nova.ledger_hosts([], print)


@pytest.mark.parametrize("name", ["a/b", "", "a\n[pci]", "x" * 201])
def test_a_host_whose_name_can_be_no_files(name: str) -> None:
    (unit,) = here(hosts.four_functions()).units
    key = UnitKey(name, unit.key.address)
    odd = ComputeHost(name, (dataclasses.replace(unit, key=key),))
    with pytest.raises(errors.Invalid, match="file name"):
        nova.ledger_hosts([record(odd)], print)


@pytest.mark.parametrize(
    "made", [hosts.dead_card, hosts.firmware_off, hosts.wide_domain]
)
def test_the_first_reason_is_given_and_no_console_s(
    made: Callable[[], described.Host],
) -> None:
    host = here(made())
    reasons = [
        group.verdict.reasons[0].text
        for group in host.refused
        if not any(r.rule == "bmc-display" for r in group.verdict.reasons)
    ]
    with pytest.raises(errors.Refused) as caught:
        nova.generate([host], NovaOptions())
    assert any(reason in str(caught.value) for reason in reasons)
    assert "\n" not in str(caught.value)


def test_nothing_for_this_release() -> None:
    host = here(hosts.shared_group())
    two = ComputeHost("c1", host.units[:1])
    with pytest.raises(errors.Refused, match=r"0000:05:01\.0: .* Nova 26"):
        nova.generate([two], NovaOptions(Release(26)))
    assert nova.generate([two], NovaOptions(Release(27)))


def test_nothing_that_is_selected() -> None:
    none = ComputeHost("c1", ())
    for fleet, who in (([none], "c1"), ([none, none], "any of 2 hosts")):
        with pytest.raises(errors.Refused, match=rf"{who} .*device list"):
            nova.generate(fleet, NovaOptions())


def test_functions_of_every_group_are_looked_at() -> None:
    """Of the disk's group, which holds no primary, as well."""
    text = '[pci]\nalias = {"name": "a", "vendor_id": "144d",'
    text += ' "product_id": "a80a", "device_type": "type-PF"}\n'
    found = nova.check_files(
        hosts.four_functions().tree(),
        GPUS,
        configuration.read([("nova.conf", text.encode())]),
        NEWEST,
    )
    (fault,) = (f for f in found if f.status is Status.FAIL)
    assert "0000:01:00.0" in fault.detail


def test_messages() -> None:
    host, two = here(hosts.shared_group()), ComputeHost("c1", ())
    (unit, *_) = host.units
    odd = dataclasses.replace(unit, key=UnitKey("a/b", unit.key.address))
    said: list[str] = []
    nova.ledger_hosts([record(host, State.QUARANTINED)], said.append)
    zed = NovaOptions(Release(26))
    calls: dict[str, Callable[[], object]] = {
        "no units": lambda: nova.ledger_hosts([], print),
        "file name": lambda: nova.ledger_hosts(
            [record(ComputeHost("a/b", (odd,)))], print
        ),
        "nothing selected": lambda: nova.generate([two], NovaOptions()),
        "two hosts": lambda: nova.generate([two, two], NovaOptions()),
        "left out": lambda: nova.generate([ComputeHost("c1", (unit,))], zed),
        "full mode": lambda: NovaOptions(Release(26), Mode.FULL),
    }
    texts = {"skipped": said}
    for title, call in calls.items():
        with pytest.raises(errors.Error) as caught:
            call()
        texts[title] = [str(caught.value)]
    golden = Path(__file__).with_name("nova_messages.txt")
    assert_golden(golden, sections(texts))


PLACES = (
    "usr/lib/python3/dist-packages/nova-31.2.0.egg-info",
    "usr/lib/python3.9/site-packages/nova-31.2.0-py3.9.egg-info",
    "usr/local/lib/python3.12/site-packages/nova-31.2.0.dist-info",
    "opt/stack/data/venv/lib/python3.12/site-packages/nova-31.0.1.dev7.dist-info",
    "var/lib/kolla/venv/lib/python3.12/site-packages/nova-31.2.0.dist-info",
    "openstack/venvs/nova-31.1.0/lib/python3.11/site-packages/"
    "nova-31.2.0.dist-info",
    "srv/own/nova-31.2.0.dist-info",
)


@pytest.mark.parametrize("place", PLACES)
def test_the_release_of_the_nova_that_is_installed(place: str) -> None:
    host = hosts.server()
    host.file(f"{place}/METADATA", "")
    host.file("usr/lib/python3/dist-packages/nova-client-1.dist-info/x", "")
    lines: list[str] = []
    folders = ["", "/srv/own"]
    assert nova.assumed_release(host.tree(), lines.append, folders) == Release(
        31
    )
    assert place in lines[0]


def test_no_nova_is_the_newest_and_said() -> None:
    lines: list[str] = []
    tree = hosts.server().tree()
    assert nova.assumed_release(tree, lines.append) == NEWEST
    assert "--release" in lines[0]


@pytest.mark.parametrize("other", ["25.3.0", "32.1.0"])
def test_a_release_that_has_to_be_named(other: str) -> None:
    """One that is not supported, or one of several."""
    host = hosts.server()
    host.file(f"{PLACES[0]}/PKG-INFO", "")
    folder = "usr/local/lib/python3.12/dist-packages"
    host.file(f"{folder}/nova-{other}.dist-info/METADATA", "")
    with pytest.raises(errors.Invalid, match="--release") as caught:
        nova.assumed_release(host.tree(), print)
    assert other.partition(".")[0] in str(caught.value)
