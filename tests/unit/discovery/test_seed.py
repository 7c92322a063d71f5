"""The packaged recording shows all that the guide shows."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.facts import facts
from gpu_passthrough_plugin.discovery.functions import detail, functions
from gpu_passthrough_plugin.discovery.pci_names import Names
from gpu_passthrough_plugin.model.reading import Unknown

LISTING = """
18 0000:06:00.0 VGA compatible controller [0300]: NVIDIA Corporation \
GM206GL [Quadro M2000] [10de:1430] (rev a1)
18 0000:06:00.1 Audio device [0403]: NVIDIA Corporation \
GM206 High Definition Audio Controller [10de:0fba] (rev a1)
19 0000:0a:03.0 VGA compatible controller [0300]: Matrox Electronics \
Systems Ltd. MGA G200eW WPCM450 [102b:0532] (rev 0a)
38 0000:82:00.0 VGA compatible controller [0300]: NVIDIA Corporation \
GM206GL [Quadro M2000] [10de:1430] (rev a1)
38 0000:82:00.1 Audio device [0403]: NVIDIA Corporation \
GM206 High Definition Audio Controller [10de:0fba] (rev a1)
39 0000:83:00.0 VGA compatible controller [0300]: NVIDIA Corporation \
GM206GL [Quadro M2000] [10de:1430] (rev a1)
39 0000:83:00.1 Audio device [0403]: NVIDIA Corporation \
GM206 High Definition Audio Controller [10de:0fba] (rev a1)
"""


def test_its_cards_and_console() -> None:
    tree, names = recorded_tree.load(recorded_tree.SEED), Names(())
    lines = [""]
    for function in functions(tree):
        code = function.class_code
        assert not isinstance(code, Unknown)
        if not function.is_display and code >> 8 != 0x0403:
            continue
        lines.append(
            f"{function.iommu_group} {function.address}"
            f" {names.class_of(code)} [{code >> 8:04x}]:"
            f" {names.function(function)}"
            f" [{function.vendor_id:04x}:{function.product_id:04x}]"
            f" (rev {detail(tree, function).revision:02x})"
        )
    assert "\n".join(lines) + "\n" == LISTING


def test_each_group_of_the_story_is_by_itself() -> None:
    found = functions(recorded_tree.load(recorded_tree.SEED))
    members: dict[object, int] = {}
    for function in found:
        group = function.iommu_group
        members[group] = members.get(group, 0) + 1
    assert [members[n] for n in (18, 19, 38, 39)] == [2, 1, 2, 2]
    bridges = {f.iommu_group for f in found if f.is_bridge}
    assert bridges.isdisjoint({18, 19, 38, 39})
    assert all(members[group] == 1 for group in bridges)


def test_its_kernel() -> None:
    found = facts(recorded_tree.load(recorded_tree.SEED))
    assert not isinstance(found.kernel_arguments, Unknown)
    assert found.kernel_arguments[-2:] == (
        "rd.driver.pre=vfio-pci",
        "intel_iommu=on",
    )
