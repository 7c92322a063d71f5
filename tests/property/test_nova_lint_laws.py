"""Laws of what is said of a ``[pci]`` section, whatever the host."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_pci_address
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.oslo_config_file import Value
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.function import (
    Detail,
    Function,
    Header,
    PhysicalFunction,
)
from gpu_passthrough_plugin.model.group import Group, Member, Role, Verdict
from gpu_passthrough_plugin.nova.lint import check, configuration
from gpu_passthrough_plugin.nova.lint.configuration import NovaConf
from gpu_passthrough_plugin.nova.lint.host_view import devices
from tests.unit.nova.lint.build import FILTER

addresses = st.builds(
    Address,
    st.sampled_from([0, 1]),
    st.integers(0, 0x1F),
    st.integers(0, 2),
    st.integers(0, 7),
)
ids = st.sampled_from([0x10DE, 0x8086, 1])


def member(address: Address, number: int, vendor: int, *, pf: bool) -> Member:
    """An endpoint of a group that answers; its role is set later."""
    function = Function(
        address, vendor, vendor, 0, 0, 0x030000, None, number, None, "", False
    )
    detail = Detail(
        0, Header.ENDPOINT, (), None, (), None, (),
        PhysicalFunction(4, 0) if pf else None, (), False,
    )  # fmt: skip
    return Member(function, Role.COMPANION, detail)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Group, ...]:
    """Assignable groups of endpoints, each with a primary or more."""
    places = draw(st.lists(addresses, min_size=1, max_size=12, unique=True))
    parts: dict[int, list[Member]] = {}
    for place in sorted(places):
        number = draw(st.integers(0, 4))
        one = member(place, number, draw(ids), pf=draw(st.booleans()))
        part = parts.setdefault(number, [])
        is_primary = not part or draw(st.booleans())
        role = Role.PRIMARY if is_primary else Role.COMPANION
        part.append(one._replace(role=role))
    return tuple(
        Group(number, tuple(part), Verdict((), ()))
        for number, part in sorted(parts.items())
    )


def spec(one: Member, **tags: str) -> str:
    return json.dumps({"address": str(one.address), **tags})


def alias(one: Member) -> str:
    (device,) = devices([Group(0, (one,), Verdict((), ()))])
    vendor, product = device.vendor_id, device.product_id
    assert isinstance(vendor, int)
    assert isinstance(product, int)
    name = f"{vendor}-{device.device_type}"
    return str(AliasEntry(name, vendor, product, device.device_type))


def aliases_of(members: Sequence[Member]) -> list[str]:
    return list(map(alias, members))


def said(
    groups: Sequence[Group], specs: Sequence[str], aliases: Sequence[str] = ()
) -> list[str]:
    """The details of what is not fine, of a file with these values."""
    lines = [f"device_spec = {one}" for one in specs]
    lines += [f"alias = {one}" for one in dict.fromkeys(aliases)]
    text = "\n".join([FILTER, "[pci]", *lines])
    read = configuration.read([("nova.conf", text.encode())])
    return [
        f.detail
        for f in check.findings(read, groups)
        if f.status is not Status.PASS
    ]


@given(hosts(), st.data())
def test_one_primary_of_each_group_is_fine(
    groups: tuple[Group, ...], data: st.DataObject
) -> None:
    chosen = [data.draw(st.sampled_from(g.primaries)) for g in groups]
    assert said(groups, list(map(spec, chosen)), aliases_of(chosen)) == []


@given(hosts())
def test_all_endpoints_of_each_group_with_its_tag_are_fine(
    groups: tuple[Group, ...],
) -> None:
    every = [m for g in groups for m in g.endpoints]
    specs = [spec(m, iommu_group=str(m.function.iommu_group)) for m in every]
    assert said(groups, specs, aliases_of(every)) == []


@given(hosts(), st.data())
def test_any_other_part_of_a_group_is_not(
    groups: tuple[Group, ...], data: st.DataObject
) -> None:
    group = data.draw(st.sampled_from(groups))
    tag = data.draw(st.sampled_from([{}, {"iommu_group": "a"}]))
    chosen = data.draw(
        st.lists(
            st.sampled_from(group.endpoints),
            min_size=1,
            unique_by=lambda m: m.address,
        )
    )
    is_one = len(chosen) == 1 and chosen[0].role is Role.PRIMARY
    is_all = len(chosen) == len(group.endpoints) and bool(tag)
    found = said(groups, [spec(m, **tag) for m in chosen])
    assert (found == []) == (is_one or is_all)


@given(st.lists(st.binary() | st.text().map(str.encode), max_size=3))
def test_no_file_raises_anything_but_faults(files: list[bytes]) -> None:
    try:
        configuration.read(
            [("nova.conf", b"[pci]\n" + data) for data in files]
        )
    except errors.Faults as faults:
        assert all("\n" not in fault for fault in faults.faults)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["vendor_id", "product_id", "address", "devname", "bus",
                 "name", "traits", "managed", "device_type", "iommu_group",
                 "resource_class"]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(hosts(), st.lists(json_values, max_size=3), st.lists(json_values))
def test_no_value_raises(
    groups: tuple[Group, ...], specs: list[object], aliases: list[object]
) -> None:
    conf = NovaConf(
        tuple(
            Value("pci", "device_spec", "a:1", json.dumps(s)) for s in specs
        ),
        tuple(Value("pci", "alias", "a:2", json.dumps(a)) for a in aliases),
    )
    for finding in check.findings(conf, groups):
        assert "\n" not in finding.detail
        is_fine = finding.status is Status.PASS
        assert bool(finding.where) != is_fine or not specs + aliases
        assert bool(finding.remedy) == (finding.status is not Status.PASS)


@given(addresses)
def test_an_address_means_itself(address: Address) -> None:
    found = nova_pci_address.parse(str(address))
    assert found.matches(address)
    assert found.single == str(address)
    other = address._replace(function=address.function ^ 1)
    assert not found.matches(other)
    assert nova_pci_address.parse(f"*:*:*.{address.function}").matches(address)
