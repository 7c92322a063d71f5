from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import reboot
from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.diagnosis.reboot import RebootState
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import (
    Fields,
    bound,
    card,
    enabled,
    evidence,
    target,
)
from tests.unit.isolation.values import audio, facts, gpu

LOST = Unknown(Why.UNREADABLE, "Permission denied")
TARGETS = (target(gpu()), target(audio()))
QUIET = facts(kernel_arguments=("quiet",))


def host(*members: Member, **fields: Fields) -> Evidence:
    """Enabled in this boot."""
    made: Fields = {"enablement": enabled(*TARGETS, boot_id="now")}
    return evidence(*members, **made | fields)


def test_needed_until_the_running_kernel_has_all() -> None:
    assert reboot.state(host(*card(), facts=QUIET)) == RebootState(
        True,
        (
            "the running kernel lacks intel_iommu=on",
            "0000:06:00.0 is on nouveau",
            "0000:06:00.1 is on snd_hda_intel",
        ),
    )
    finding = reboot.finding(host(card(driver=None)[0], card()[1]))
    assert (finding.check, finding.status) == ("reboot", Status.FAIL)
    for fact in ("0000:06:00.0", "0000:06:00.1", "snd_hda_intel"):
        assert fact in finding.detail
    assert reboot.state(host(*bound(), facts=QUIET)).is_needed is True
    assert reboot.state(host(bound()[0])).missing == (
        "0000:06:00.1 is missing",
    )


def test_not_needed_when_all_is_as_it_should_be() -> None:
    assert reboot.state(host(*bound())) == RebootState(False)
    finding = reboot.finding(host(*bound()))
    assert (finding.status, finding.remedy) == (Status.PASS, "")
    # Which boot it is does not matter then.
    assert reboot.state(host(*bound(), boot_id=LOST)) == RebootState(False)


def test_not_needed_where_nothing_was_enabled() -> None:
    assert reboot.state(host(*card(), enablement=None)) == RebootState(False)


def test_after_another_boot_it_did_not_help() -> None:
    rebooted = host(*card(), boot_id="later")
    assert reboot.state(rebooted).is_needed is False
    finding = reboot.finding(rebooted)
    assert finding.status is Status.WARN
    assert "0000:06:00.0 is on nouveau" in finding.detail
    assert "host verify" in finding.remedy


def test_unknown_where_the_boot_is() -> None:
    for fields in (
        {"boot_id": LOST},
        {"enablement": enabled(*TARGETS, boot_id="")},
    ):
        assert reboot.state(host(*card(), **fields)).is_needed is None
        finding = reboot.finding(host(*card(), **fields))
        assert finding.status is Status.WARN
        assert "unknown" in finding.detail


def test_unknown_where_the_host_cannot_be_read() -> None:
    blind = facts(kernel_arguments=LOST)
    state = reboot.state(host(*bound(), facts=blind))
    assert state.is_needed is None
    assert state.unread == (f"the kernel command line is {LOST}",)
    lost = reboot.state(host(*card(driver=LOST)[:1], bound()[1]))
    assert lost.is_needed is None
    assert lost.unread == (f"the driver of 0000:06:00.0 is {LOST}",)
    # What is known to be missing is enough.
    both = reboot.state(host(card(driver=LOST)[0], card()[1]))
    assert both.is_needed is True
