"""What binding by ids takes, and what mkinitcpio's file comes back to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.binding.address import AddressBinding
from gpu_passthrough_plugin.enablement.binding.ids import IdsBinding
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    InitramfsContent,
)
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import (
    CONFIGURATION,
    Mkinitcpio,
)
from gpu_passthrough_plugin.model.change import Action
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation
from tests.trees.arch import arch
from tests.trees.installed import installation
from tests.unit.enablement.values import installed, target
from tests.unit.isolation.values import function

BARE = installed()
ARCH = installation(arch().tree())
IDS = InitramfsContent("", ("vfio", "vfio_pci"), ("/etc/modprobe.d/x.conf",))

# Few ids for many functions, so that there are twins.
functions = st.lists(
    st.builds(
        function,
        st.integers(1, 0xFF).map(lambda bus: f"{bus:02x}:00.0"),
        st.sampled_from(["10de:1430", "10de:1431", "1002:1430", "10de:fba"]),
        st.sampled_from([0x030000, 0x040300]),
    ),
    min_size=1,
    unique_by=lambda f: f.address,
)


@given(functions, st.data())
def test_ids_take_what_was_selected_or_nothing(
    host: list[Function], data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.sampled_from(host), min_size=1))
    others = tuple(f for f in host if f not in chosen)
    targets = tuple(target(f) for f in sorted(chosen))
    case = BindingCase(targets, others, BARE)
    expected = {(f.vendor_id, f.product_id) for f in chosen}
    if any((f.vendor_id, f.product_id) in expected for f in others):
        with pytest.raises(errors.Refused):
            IdsBinding().plan(case)
    else:
        (change,) = IdsBinding().plan(case).changes
        assert change.becomes is not None
        line = change.becomes.decode().splitlines()[1]
        ids = line.partition("ids=")[2].split(",")
        assert len(ids) == len(set(ids))
        pairs = (text.split(":") for text in ids)
        assert {(int(v, 16), int(p, 16)) for v, p in pairs} == expected
    script = AddressBinding().plan(case).content.script
    calls = [r for r in script.splitlines() if r.startswith("gpupt_take ")]
    assert [c.split()[1] for c in calls] == [
        str(f.address) for f in sorted(chosen)
    ]


lines = st.lists(st.text("ab =()#\t\"'é", max_size=12)).map(
    lambda rows: "".join(f"{row}\n" for row in rows)
)


def with_text(text: str) -> Installation:
    return ARCH._replace(files={**ARCH.files, CONFIGURATION: text.encode()})


@given(lines, lines)
def test_mkinitcpios_own_lines_come_back(before: str, after: str) -> None:
    (change,) = Mkinitcpio().files(with_text(before), IDS)
    ours = (change.becomes or b"").decode()
    assert change.action is Action.CHANGE
    (again,) = Mkinitcpio().files(with_text(ours), IDS)
    assert again.action is Action.KEEP
    (back,) = Mkinitcpio().files(with_text(ours + after), InitramfsContent())
    assert (back.becomes or b"").decode() == (before or "\n") + after
