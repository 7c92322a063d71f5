"""Every NIC below a next hop is the host's, however interfaces are stacked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.discovery import host_dependencies, recorded_tree
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import installed, software
from tests.trees.host import Host

NICS = {f"eth{n}": f"0000:0{n}:00.0" for n in range(1, 5)}
DESTINATIONS = ("default", "192.0.2.0/24", "198.51.100.7/32")
Stack = dict[str, frozenset[str]]
Hop = tuple[str, str, str]


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    """Draw virtual interfaces, each with those right below it."""
    stack: Stack = {}
    for number in range(draw(st.integers(0, 5))):
        lower = st.sampled_from([*NICS, *stack])
        stack[f"v{number}"] = draw(st.frozensets(lower, max_size=3))
    return stack


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Stack, list[Hop]]:
    """Draw interfaces and next hops: destination, interface, table."""
    stack = draw(stacks())
    hop = st.tuples(
        st.sampled_from(DESTINATIONS),
        st.sampled_from([*NICS, *stack]),
        st.sampled_from(("254", "51820")),
    )
    return stack, draw(st.lists(hop, max_size=5))


def below(stack: Stack, name: str) -> set[str]:
    """Return the NICs below an interface."""
    if name in NICS:
        return {name}
    return {nic for lower in stack[name] for nic in below(stack, lower)}


def described(stack: Stack, hops: list[Hop]) -> Host:
    host = Host()
    software.mounts(host, {})
    software.swaps(host)
    paths = {
        name: software.nic(
            host, host.function(address, "8086:1521", "020000"), name, index
        )
        for index, (name, address) in enumerate(NICS.items(), 1)
    }
    for index, (name, lowers) in enumerate(stack.items(), 10):
        links = {f"lower_{lower}": f"/sys{paths[lower]}" for lower in lowers}
        paths[name] = software.nic(host, "", name, index, **links)
    software.next_hops(
        host,
        *(f"inet {to} dev {name} table {table}" for to, name, table in hops),
    )
    return host


@given(hosts())
def test_every_nic_below_a_next_hop_is_needed(
    drawn: tuple[Stack, list[Hop]],
) -> None:
    stack, hops = drawn
    tree = described(stack, hops).tree()
    uses = host_dependencies.uses(tree)
    lost = [
        name
        for to, name, table in hops
        if (to, table) == ("default", "254") and not below(stack, name)
    ]
    if lost:
        assert isinstance(uses, Unknown)
    else:
        assert not isinstance(uses, Unknown)
        needed = {nic for _, name, _ in hops for nic in below(stack, name)}
        assert {str(use.address) for use in uses} == {
            NICS[name] for name in needed
        }
    recorded = installed.recorded(tree)
    again = recorded_tree.parse(recorded, "again")
    assert host_dependencies.uses(again) == uses
    assert b"198.51.100.7" not in recorded
