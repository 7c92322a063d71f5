"""Names of resource classes, aliases and flavors."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.nova import naming
from gpu_passthrough_plugin.nova.options import Mode
from tests.trees import hosts
from tests.unit.nova.fleet import handed


def test_two_cards_whole() -> None:
    both, single = handed(hosts.shared_group()).units
    members = "_OF_10DE_1430_10DE_1431"
    classes = [naming.resource_class(both, f) for f in both.functions]
    assert classes == [
        f"CUSTOM_PCI_10DE_1430{members}",
        f"CUSTOM_PCI_10DE_0FBA{members}",
        f"CUSTOM_PCI_10DE_1431{members}",
        f"CUSTOM_PCI_10DE_0FBA{members}",
    ]
    members = members.lower().replace("_", "-")
    items = naming.items(both, Mode.FULL)
    assert naming.alias_text(items) == (
        f"gpu-10de-1430{members}:1,gpu-10de-1431{members}:1,"
        f"pci-10de-0fba{members}:2"
    )
    assert naming.flavor(items) == (
        f"gpu-10de-1430{members}+gpu-10de-1431+pci-10de-0fba-x2"
    )
    items = naming.items(single, Mode.FULL)
    assert naming.flavor(items) == "gpu-10de-24b0+pci-10de-228b"
    assert naming.flavor(naming.items(single, Mode.PRIMARY)) == "gpu-10de-24b0"


def test_many_kinds_of_cards_are_only_counted() -> None:
    (unit, _) = handed(hosts.shared_group()).units
    cards = tuple(
        dataclasses.replace(
            unit.functions[0],
            address=unit.key.address._replace(bus=32 + number),
            product_id=number,
        )
        for number in range(30)
    )
    many = dataclasses.replace(unit, functions=cards)
    name = naming.resource_class(many, cards[1])
    assert name == "CUSTOM_PCI_10DE_0001_OF_X30"
    same = tuple(dataclasses.replace(f, product_id=7) for f in cards)
    alike = dataclasses.replace(unit, functions=same)
    name = naming.resource_class(alike, same[0])
    assert name == "CUSTOM_PCI_10DE_0007_OF_10DE_0007_X30"
