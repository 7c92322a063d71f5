# mypy: disable-error-code="import-not-found", allow-subclassing-any
"""Full mode: every function is listed, and the filter keeps groups whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from gpu_passthrough_plugin.nova import control_plane, naming
from tests.functional.nova import fleet
from tests.functional.nova.cloud import Cloud

# As it is without a change of the strategy: what Placement names are few
# ways to take few of the cards.
DEPTH_FIRST: Mapping[str, Mapping[str, Any]] = {
    "placement": {
        "allocation_candidates_generation_strategy": "depth-first",
        "max_allocation_candidates": 1000,
    }
}


class FullMode(Cloud):
    """As everything is generated."""

    def test_three_cards_and_no_fourth(self) -> None:
        host = fleet.three_cards("c1")
        self.start(host)
        flavor = self.flavor(host.units[0])
        servers = [self.boot(flavor) for _ in host.units]
        taken = [unit for server in servers for unit in self.units(server)]
        self.assertCountEqual(host.units, taken)
        self.assertEqual([2, 2, 2], [len(u.functions) for u in taken])
        self.refuse(flavor)
        # What one gives back another gets.
        self._delete_server(servers[1])
        (again,) = self.units(self.boot(flavor))
        self.assertEqual(taken[1], again)
        self.refuse(flavor)
        self.assert_no_healing()

    def test_two_cards_in_a_group(self) -> None:
        host = fleet.shared_group("c1")
        self.start(host)
        both, single = host.units
        pair = self.boot(self.flavor(both))
        self.assertEqual([both], self.units(pair))
        self.assertEqual(4, len(self.functions(pair)))
        self.refuse(self.flavor(both))
        one = self.boot(self.flavor(single))
        self.assertEqual([single], self.units(one))
        self.assert_no_healing()

    def test_a_physical_function_and_virtual_ones(self) -> None:
        host = fleet.sriov("c1")
        self.start(host)
        physical, first, second = host.units
        self.assertEqual(
            [physical], self.units(self.boot(self.flavor(physical)))
        )
        self.refuse(self.flavor(physical))
        # Two of them are of one provider, and each is a group.
        virtual = self.flavor(first)
        taken = [self.units(self.boot(virtual)) for _ in range(2)]
        self.assertCountEqual([[first], [second]], taken)
        self.refuse(virtual)
        self.assert_no_healing()

    def test_half_a_card_is_not_handed_out(self) -> None:
        host = fleet.three_cards("c1")
        self.start(host)
        alias = naming.alias(host.units[0], host.units[0].functions[0])
        half = self._create_flavor(
            vcpu=1,
            memory_mb=64,
            disk=1,
            extra_spec={"pci_passthrough:alias": f"{alias}:1"},
        )
        self.refuse(half)

    def test_eight_at_once(self) -> None:
        host = fleet.wide("c1")
        self.start(host)
        servers = self.boot_at_once(self.flavor(host.units[0]), 8)
        taken = [unit for server in servers for unit in self.units(server)]
        self.assertCountEqual(host.units, taken)
        self.refuse(self.flavor(host.units[0]))
        self.assert_no_healing()


class WideHost(Cloud):
    """Eight cards of four functions, on a Placement that is tuned."""

    def test_eight_cards_and_no_ninth(self) -> None:
        host = fleet.wide("c1")
        self.start(host)
        flavor = self.flavor(host.units[0])
        taken = []
        for _ in host.units:
            (unit,) = self.units(self.boot(flavor))
            taken.append(unit)
        self.assertCountEqual(host.units, taken)
        self.refuse(flavor)
        self.assert_no_healing()

    def test_two_cards_each(self) -> None:
        host = fleet.wide("c1")
        self.start(host)
        flavor = self.flavor(host.units[0], times=2)
        for _ in range(4):
            first, second = self.units(self.boot(flavor))
            self.assertEqual(first.switch, second.switch)
        self.refuse(flavor)
        self.assert_no_healing()


class WideHostUntuned(WideHost):
    """The same, where Placement names few ways to take few cards."""

    tuning = DEPTH_FIRST

    def test_traits_of_an_alias(self) -> None:
        host = fleet.wide("c1")
        fast = frozenset({"CUSTOM_FAST"})
        units = [
            dataclasses.replace(unit, traits=fast)
            if number in (3, 6)
            else unit
            for number, unit in enumerate(host.units)
        ]
        host = dataclasses.replace(host, units=tuple(units))
        self.start(host, **{"gpu-10de-1e87": "CUSTOM_FAST"})
        flavor = self.flavor(host.units[0])
        taken = [self.units(self.boot(flavor)) for _ in range(2)]
        self.assertCountEqual([[units[3]], [units[6]]], taken)
        self.refuse(flavor)


class InstanceOnANode(Cloud):
    """Instances whose memory is on one node, and cards that have to be."""

    enabled = (*control_plane.DEFAULT_FILTERS, control_plane.NUMA_FILTER)
    tuning = DEPTH_FIRST

    def two_cards(self) -> str:
        host = fleet.wide("c1")
        self.start(host)
        return self.flavor(
            host.units[0],
            times=2,
            hw__numa_nodes="1",
            hw__pci_numa_affinity_policy="required",
        )

    def test_cards_are_on_its_node(self) -> None:
        flavor = self.two_cards()
        nodes = []
        for _ in range(4):
            first, second = self.units(self.boot(flavor))
            self.assertEqual(first.numa_node, second.numa_node)
            nodes.append(first.numa_node)
        self.assertCountEqual([0, 0, 1, 1], nodes)
        self.refuse(flavor)


class FilterTooLate(InstanceOnANode):
    """The control: Nova's own looks at what Placement names, and gives up."""

    overridden: ClassVar[Mapping[str, Any]] = {
        "enabled_filters": [
            *control_plane.DEFAULT_FILTERS,
            control_plane.NUMA_FILTER,
            control_plane.GROUP_FILTER,
            control_plane.PCI_FILTER,
        ],
    }

    def test_cards_are_on_its_node(self) -> None:
        self.refuse(self.two_cards())


class StockNova(Cloud):
    """The control: the same entries and requests, without our filter."""

    overridden: ClassVar[Mapping[str, Any]] = {
        "available_filters": [control_plane.NOVAS_FILTERS],
        "weight_classes": [control_plane.NOVAS_WEIGHERS],
        "enabled_filters": [
            *control_plane.DEFAULT_FILTERS,
            control_plane.PCI_FILTER,
        ],
    }

    def test_it_splits_groups(self) -> None:
        host = fleet.wide("c1")
        self.start(host)
        flavor = self.flavor(host.units[0])
        touched = []
        for _ in host.units:
            server = self.boot(flavor)
            functions = self.functions(server)
            touched.append(len({address[:-1] for address in functions}))
        self.assertLess(1, max(touched))

    def test_it_hands_out_half_a_card(self) -> None:
        host = fleet.three_cards("c1")
        self.start(host)
        alias = naming.alias(host.units[0], host.units[0].functions[0])
        half = self._create_flavor(
            vcpu=1,
            memory_mb=64,
            disk=1,
            extra_spec={"pci_passthrough:alias": f"{alias}:1"},
        )
        self.assertEqual(1, len(self.functions(self.boot(half))))
