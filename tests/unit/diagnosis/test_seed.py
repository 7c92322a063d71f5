"""The seed's success and failure, as reports of its host."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import verify
from gpu_passthrough_plugin.diagnosis.evidence import Confidence, Evidence
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.finding import Status
from tests.trees import seed_logs
from tests.trees.host import Host
from tests.trees.seed import failed, seed
from tests.unit.diagnosis.build import names, of_tree, target

CARDS = ("0000:06:00", "0000:82:00", "0000:83:00")


def chosen(evidence: Evidence) -> list[Target]:
    return [
        target(m.function)
        for m in evidence.members
        if str(m.address)[:-2] in CARDS
    ]


def verified(host: Host, log: str) -> tuple[Verified, ...]:
    lines = kernel_log.relevant(kernel_log.parsed(log))
    evidence = of_tree(host.tree(), lines)
    targets = verify.expected(evidence, chosen(evidence))
    return verify.findings(evidence, targets)


def test_its_success() -> None:
    rows = verified(seed(), seed_logs.SUCCESS)
    assert [(str(r.address), r.found, r.iommu_group) for r in rows] == [
        ("0000:06:00.0", "vfio-pci", 18),
        ("0000:06:00.1", "vfio-pci", 18),
        ("0000:82:00.0", "vfio-pci", 38),
        ("0000:82:00.1", "vfio-pci", 38),
        ("0000:83:00.0", "vfio-pci", 39),
        ("0000:83:00.1", "vfio-pci", 39),
    ]
    assert {r.status for r in rows} == {Status.PASS}
    assert {r.causes for r in rows} == {()}


def test_its_failure() -> None:
    rows = verified(failed(), seed_logs.FAILURE)
    assert len(rows) == 6
    assert {r.status for r in rows} == {Status.FAIL}
    assert {r.iommu_group for r in rows} == {None}
    for row in rows:
        first, second = row.causes[:2]
        assert (first.name, first.confidence) == (
            "firmware-off",
            Confidence.CERTAIN,
        )
        assert "VT-d" in first.fix
        assert second.name == "ids-incomplete"
        assert "10de:0fba" in second.text
        assert second.evidence == (
            "/etc/modprobe.d/vfio.conf:1: options vfio-pci ids=10de:1430"
        )
        assert "ids=10de:1430,10de:0fba" in second.fix


def test_its_failure_card_by_card() -> None:
    """A card is named in ids= and its audio function is not.

    The group is of use only whole, so that the card has that defect as
    well: likely, where it is certain for the audio function.
    """
    for row in verified(failed(), seed_logs.FAILURE):
        is_card = row.address.function == 0
        assert row.found == ("none" if is_card else "snd_hda_intel")
        sure = Confidence.LIKELY if is_card else Confidence.CERTAIN
        assert row.causes[1].confidence is sure
        line = f"vfio-pci: probe of {row.address} failed with error -22"
        assert row.causes[0].evidence == (
            "/sys/firmware/acpi/tables has no DMAR"
            + (f"; {line}" if is_card else "")
        )
        rest = [] if is_card else ["competing-driver"]
        assert names(row.causes[2:]) == rest


def test_half_of_the_ids_with_vt_d_on_are_the_first_cause() -> None:
    host = seed()
    host.file("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:1430\n")
    host.function(
        "0000:06:00.1", "10de:0fba", "040300", under="0000:00:02.0",
        group=18, node=0, driver="snd_hda_intel",
    )  # fmt: skip
    rows = verified(host, seed_logs.SUCCESS.replace("10de:0fba", "10de:1430"))
    audio = rows[1]
    assert audio.status is Status.FAIL
    assert names(audio.causes)[0] == "ids-incomplete"
    assert [r.status for r in rows].count(Status.PASS) == 5
