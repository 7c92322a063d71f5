"""Laws of parts and verdicts, whatever a host is made of."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.isolation import partition, units, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.rules import RULES, make_case
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    Detail,
    Function,
    Header,
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.host_facts import (
    CpuVendor,
    HostFacts,
    HostUse,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

LOST = Unknown(Why.UNREADABLE, "Permission denied")

addresses = st.builds(
    Address,
    st.sampled_from([0, 0x10000]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)
functions = st.builds(
    Function,
    address=addresses,
    vendor_id=st.sampled_from([0x10DE, 0x8086, 0x1A03, LOST]),
    product_id=st.sampled_from([0x1430, 0x2000, LOST]),
    subsystem_vendor_id=st.just(0),
    subsystem_product_id=st.just(0),
    class_code=st.sampled_from([0x030000, 0x040300, 0x010802, 0x060400, LOST]),
    driver=st.sampled_from([None, "nouveau", LOST]),
    iommu_group=st.sampled_from([None, 0, 1, 2, MISSING, LOST]),
    numa_node=st.sampled_from([None, 0, 1, LOST]),
    modalias=st.just(""),
    is_bridge=st.booleans(),
)
hosts = st.lists(functions, max_size=12, unique_by=lambda f: f.address)
details = st.builds(
    Detail,
    revision=st.just(0),
    header=st.sampled_from([*Header, LOST]),
    modules=st.just(()),
    driver_override=st.just(None),
    reset_methods=st.just(()),
    boot_vga=st.sampled_from([None, True, False, MISSING]),
    bars=st.just(()),
    sriov=st.sampled_from(
        [
            None,
            LOST,
            PhysicalFunction(4, 0),
            PhysicalFunction(4, 2),
            VirtualFunction(Address(*[0] * 4)),
        ]
    ),
    bridges=st.just(()),
)
facts = st.builds(
    HostFacts,
    cpu_vendor=st.sampled_from([*CpuVendor, LOST]),
    kernel_release=st.just("6.1.0"),
    kernel_arguments=st.lists(
        st.sampled_from(
            ["intel_iommu=on", "intel_opmmu=on", "iommu=off", "iommu=pt"]
        )
    ).map(tuple)
    | st.just(LOST),
    acpi_tables=st.sampled_from(
        [frozenset({"DMAR"}), frozenset({"IVRS"}), frozenset(), LOST]
    ),
    iommus=st.sampled_from([(), ("dmar0",), LOST]),
    uses=st.lists(
        st.builds(HostUse, addresses, st.just("mount /")), max_size=2
    ).map(tuple)
    | st.just(LOST),
    consoles=st.sampled_from([("tty0",), ("tty0", "ttyS0"), (), LOST]),
    sockets=st.just({0: 0}),
)
policies = st.builds(
    Policy,
    st.sampled_from([(), (selector.parse("class=03"),)]),
    st.sampled_from([(), (selector.parse("8086:*"),)]),
)


@given(hosts, policies)
def test_parts_partition_the_functions(
    host: list[Function], policy: Policy
) -> None:
    parts = partition.parts(host, policy)
    members = [m.function for part in parts for m in part.members]
    assert sorted(members, key=lambda f: f.address) == sorted(
        host, key=lambda f: f.address
    )
    for part in parts:
        numbers = {m.function.iommu_group for m in part.members}
        if part.number is None:
            assert len(part.members) == 1
            assert not any(isinstance(number, int) for number in numbers)
        else:
            assert numbers == {part.number}
    named = [part.number for part in parts if part.number is not None]
    assert len(named) == len(set(named))


@given(hosts, policies, st.randoms(use_true_random=False))
def test_the_order_of_reading_changes_nothing(
    host: list[Function], policy: Policy, chance: random.Random
) -> None:
    shuffled = list(host)
    chance.shuffle(shuffled)
    assert partition.parts(shuffled, policy) == partition.parts(host, policy)


@given(hosts, policies, facts, st.data())
def test_a_verdict_is_assignable_when_no_rule_speaks_against_it(
    host: list[Function], policy: Policy, facts: HostFacts, data: st.DataObject
) -> None:
    for part in partition.parts(host, policy):
        read = {m.address: data.draw(details) for m in part.members}
        whole = partition.detailed(part, read)
        group = verdict.judge(whole, facts, policy)
        looked_at = make_case(whole, facts, policy)
        spoken = [reason for rule in RULES for reason in rule(looked_at)]
        assert group.verdict.is_assignable == (not spoken)
        assert list(group.verdict.reasons) == spoken
        assert all(reason.remedy for reason in spoken)
        if group.verdict.is_assignable:
            _check_unit(group_number=group.number, unit_of=whole, facts=facts)


def _check_unit(
    *, group_number: int | None, unit_of: partition.Part, facts: HostFacts
) -> None:
    """An assignable group makes a whole unit of answering endpoints."""
    group = verdict.judge(unit_of, facts, Policy((selector.parse("*:*"),)))
    assert group_number is not None
    unit = units.unit("host", group, facts)
    assert unit.key.address == group.primaries[0].address
    assert [f.address for f in unit.functions] == [
        m.address for m in unit_of.members if m.role is not Role.BRIDGE
    ]
    for member in group.endpoints:
        assert member.detail is not None
        assert member.detail.header is Header.ENDPOINT


@given(hosts, policies, facts)
def test_more_reasons_never_come_from_a_smaller_selection(
    host: list[Function], policy: Policy, facts: HostFacts
) -> None:
    """Without a selection, nothing at all is handed out."""
    nothing = policy._replace(select=())
    for part in partition.parts(host, nothing):
        assert not verdict.judge(part, facts, nothing).verdict.is_assignable
