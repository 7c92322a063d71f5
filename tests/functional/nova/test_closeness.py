# mypy: disable-error-code="import-not-found", allow-subclassing-any
"""Units that a flavor wants together, and hosts that they fit best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gpu_passthrough_plugin.nova import control_plane
from tests.functional.nova import fleet
from tests.functional.nova.cloud import PRIMARY, Cloud

GROUP_FILTER = control_plane.GROUP_FILTER


class Locality(Cloud):
    def test_two_cards_below_one_switch(self) -> None:
        host = fleet.wide("c1")
        self.start(host)
        single = self.flavor(host.units[0])
        pair = self.flavor(
            host.units[0], times=2, gpu_passthrough__locality="same-switch"
        )
        # Two that come one by one leave three pairs of four.
        first, second = (self.units(self.boot(single))[0] for _ in range(2))
        self.assertEqual(first.switch, second.switch)
        for _ in range(3):
            one, other = self.units(self.boot(pair))
            self.assertEqual(one.switch, other.switch)
        self.refuse(pair)

    def test_a_switch_that_is_broken_is_not_mended_by_another(self) -> None:
        host = fleet.of_nodes("c1", 0, 0, 1)
        self.start(host)
        same_node = self.flavor(
            host.units[0], times=2, gpu_passthrough__locality="same-node"
        )
        server = self.boot(same_node)
        self.assertEqual([0, 0], [u.numa_node for u in self.units(server)])
        self._delete_server(server)
        same_switch = self.flavor(
            host.units[0], times=2, gpu_passthrough__locality="same-switch"
        )
        self.refuse(same_switch)

    def test_what_there_is_not_is_refused(self) -> None:
        # Written before the API had the validator.
        host = fleet.three_cards("c1")
        self.start(host)
        odd = self.flavor(host.units[0], gpu_passthrough__locality="same-rack")
        self.refuse(odd)


class LocalityInPrimaryMode(Cloud):
    """As an operator does who follows the comment in the file."""

    options = PRIMARY
    overridden: ClassVar[Mapping[str, Any]] = {
        "available_filters": [
            control_plane.NOVAS_FILTERS,
            control_plane.GROUP_FILTER_PATH,
        ],
        "enabled_filters": [
            *control_plane.DEFAULT_FILTERS,
            GROUP_FILTER,
            control_plane.PCI_FILTER,
        ],
    }

    def test_two_cards_on_one_node(self) -> None:
        host = fleet.of_nodes("c1", 0, 1, 0, 1)
        self.start(host)
        pair = self.flavor(
            host.units[0], times=2, gpu_passthrough__locality="same-node"
        )
        nodes = []
        for _ in range(2):
            one, other = self.units(self.boot(pair))
            self.assertEqual(one.numa_node, other.numa_node)
            nodes.append(one.numa_node)
        self.assertCountEqual([0, 1], nodes)
        self.refuse(pair)


class TwoHosts(Cloud):
    """Hosts between which the scheduler has a choice."""

    def is_packed(self) -> bool:
        """Whether two instances with a card each share a host of two."""
        hosts = [fleet.of_nodes(name, 0, 0) for name in ("a", "b")]
        self.start(*hosts)
        flavor = self.flavor(hosts[0].units[0])
        first, second = (self.host_of(self.boot(flavor)) for _ in range(2))
        return first == second

    def taken_for_two(self) -> str:
        """The host that an instance with two cards is on.

        Nova's own weigher prefers the one with fewer functions.
        """
        apart = fleet.of_nodes("apart", 0, 1)
        close = fleet.of_nodes("close", 1, 1, 1)
        self.start(apart, close)
        return self.host_of(self.boot(self.flavor(apart.units[0], times=2)))


class Weigher(TwoHosts):
    def test_the_host_that_is_packed_already_is_taken(self) -> None:
        self.assertTrue(self.is_packed())

    def test_the_host_whose_cards_are_close_is_taken(self) -> None:
        self.assertEqual("close", self.taken_for_two())


class StockWeighers(TwoHosts):
    """The control: the same without our weigher."""

    overridden: ClassVar[Mapping[str, Any]] = {
        "weight_classes": [control_plane.NOVAS_WEIGHERS],
    }

    def test_the_host_with_more_memory_is_taken(self) -> None:
        self.assertFalse(self.is_packed())

    def test_the_host_with_fewer_functions_is_taken(self) -> None:
        self.assertEqual("apart", self.taken_for_two())
