"""What ``host enable`` would do to a host, read as one."""

from __future__ import annotations

import contextlib

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.conf.enablement import Enablement
from gpu_passthrough_plugin.flow import enablement
from gpu_passthrough_plugin.flow.enablement import (
    BootContext,
    EnableOptions,
    EnablePlan,
)
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from tests.trees import hosts
from tests.trees.host import Host
from tests.trees.systems import SYSTEMS
from tests.unit.isolation.values import GPUS

CHOICE = Enablement(None, None, None, "address", False, False, ())


def planned(
    host: Host, policy: Policy = GPUS, options: EnableOptions | None = None
) -> EnablePlan:
    context = BootContext(
        host.tree(), policy, CHOICE, None, None, contextlib.nullcontext, print
    )
    return enablement.plan_enable(context, options or EnableOptions())


def with_virtual_functions() -> Host:
    """A Debian with an accelerator of which two functions are enabled."""
    host = SYSTEMS["debian12"]()
    hosts.port(host, "0000:00:05.0", "0000:05", 5, "8086")
    host.function(
        "0000:05:00.0", "8086:56c0", "038000", under="0000:00:05.0",
        group=21, driver="i915", vfs=(31, 2), reset="flr",
    )  # fmt: skip
    for number in (1, 2):
        host.function(
            f"0000:05:00.{number}", "8086:56c0", "038000",
            under="0000:00:05.0", group=21 + number,
            physical="0000:05:00.0", reset="flr",
        )  # fmt: skip
    return host


def test_selected_virtual_functions_are_told_to_come_late() -> None:
    chosen = ("0000:04:00.0", "0000:05:00.1")
    policy = Policy(tuple(map(selector.parse, chosen)))
    plan = planned(with_virtual_functions(), policy)
    targets = [str(t.address) for t in plan.plan.enablement.targets]
    assert targets == ["0000:04:00.0", "0000:04:00.1", "0000:05:00.1"]
    (note,) = (n for n in plan.notes if "virtual function is" in n)
    assert note.startswith("0000:05:00.1: ")
    assert not [
        n for n in planned(SYSTEMS["debian12"]()).notes if "virtual" in n
    ]


def test_what_the_host_uses_keeps_its_driver() -> None:
    with pytest.raises(errors.Refused, match=r"0000:01:00\.0 for mount /"):
        planned(
            SYSTEMS["debian12"](), options=EnableOptions(blacklist=("nvme",))
        )


def test_names_are_checked_before_the_host_is_read() -> None:
    bad = EnableOptions(select=("0000:7f:00.0",), blacklist=("vfio-pci",))
    with pytest.raises(errors.Faults, match="vfio-pci"):
        planned(SYSTEMS["debian12"](), options=bad)


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (EnableOptions(select=("nvidia",)), ("--select", "'nvidia'")),
        (EnableOptions(deselect=("nvidia",)), ("--deselect", "'nvidia'")),
        (EnableOptions(is_only=True), ("--only", "--select")),
        (
            EnableOptions(("10de:*",), deselect=("1002:*",), is_only=True),
            ("--only", "--deselect"),
        ),
        (EnableOptions(binding="id"), ("--binding 'id'", "address, ids")),
        (EnableOptions(binding=""), ("--binding ''", "address, ids")),
        (EnableOptions(blacklist=("a.ko",)), ("--blacklist 'a.ko'",)),
        (EnableOptions(blacklist=("",)), ("--blacklist ''",)),
        (EnableOptions(blacklist=("a b",)), ("--blacklist 'a b'",)),
    ],
)
def test_an_option_is_named_as_it_was_typed(
    options: EnableOptions, data: tuple[str, ...]
) -> None:
    with pytest.raises(errors.Faults) as caught:
        planned(SYSTEMS["debian12"](), options=options)
    (fault,) = caught.value.faults
    assert all(datum in fault for datum in data)


def test_a_module_to_be_blacklisted_that_is_not_there() -> None:
    options = EnableOptions(blacklist=("nouveau", "nouveaux"))
    plan = planned(SYSTEMS["debian12"](), options=options)
    (note,) = (n for n in plan.notes if "blacklist" in n)
    assert "nouveaux" in note and "no module" in note
