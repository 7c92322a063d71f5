"""Options that Nova does not know, or that do not go together."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.nova import control_plane
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    PCI_FILTER,
)
from gpu_passthrough_plugin.nova.lint.option_rules import (
    FILTERS,
    OPTIONS,
    PLACEMENT,
)
from tests.trees import hosts
from tests.unit.nova.lint.build import (
    FILTER,
    GPU,
    REPORT,
    SCHEDULER,
    faults,
    kinds,
    pci,
)

FAIL, WARN = Status.FAIL, Status.WARN
CARD = {"address": "0000:04:00.0"}
OWN_FILTER = control_plane.GROUP_FILTER_PATH
FINE = pci([CARD], [GPU])


def found(text: str, check: str, release: int = 34) -> list[Finding]:
    host = hosts.four_functions()
    return [
        f for f in faults(host, text, Release(release)) if f.check == check
    ]


@pytest.mark.parametrize(
    ("text", "datum"),
    [
        ("[pci]\ndevice_specs = {}\n", "device_spec"),
        ("[pci]\nDevice_Spec = {}\n", "device_spec"),
        ("[pci]\npassthrough-whitelist = {}\n", "passthrough_whitelist"),
        ("[pci]\nreport_in_placment = True\n", "report_in_placement"),
        ("[pci]\npci_in_placement = True\n", "[filter_scheduler]"),
        ("[pci]\nenabled = True\n", "alias, device_spec"),
        ("[DEFAULT]\ndevice_spec = {}\n", "[pci]"),
        ("[DEFAULT]\npassthrough_whitelist = {}\n", "[pci]"),
        ("[placement]\nreport_in_placement = True\n", "[pci]"),
        ("[scheduler]\npci_in_placement = True\n", "[filter_scheduler]"),
    ],
)
def test_an_option_that_nova_ignores(text: str, datum: str) -> None:
    (ignored,) = found(FINE + text, OPTIONS)
    assert ignored.status is WARN
    assert ignored.where == f"nova.conf:{FINE.count(chr(10)) + 2}"
    assert datum in ignored.remedy


def test_a_misspelt_option_of_the_scheduler() -> None:
    text = f"{SCHEDULER}pci_in_placment = True\n"
    (ignored,) = found(FINE + text, OPTIONS)
    assert "pci_in_placement" in ignored.remedy


@pytest.mark.parametrize(
    "text",
    [
        "[pci]\nreport_in_placement = True\n",
        "[DEFAULT]\npci_alias = {}\n",
        "[filter_scheduler]\ngpu_affinity_weight_multiplier = 10\n",
        "[other]\nalias = x\n",
        "[DEFAULT]\ndebug = True\n",
    ],
)
def test_an_option_that_nova_or_another_program_knows(text: str) -> None:
    assert found(text + FINE, OPTIONS) == []


@pytest.mark.parametrize(
    "text",
    [
        "[pci]\nreport_in_placement = y\n",
        "[filter_scheduler]\npci_in_placement = t\n",
        "[libvirt]\ncpu_mode = maximum\n",
    ],
)
def test_a_value_of_the_wrong_type(text: str) -> None:
    """Whether or not anything else is set."""
    for rest in (FINE, ""):
        (wrong,) = (f for f in found(text + rest, OPTIONS) if f.status is FAIL)
        assert wrong.where == "nova.conf:2"


def test_an_option_that_an_older_release_ignores() -> None:
    text = "[filter_scheduler]\npci_in_placement = True\n"
    (ignored,) = found(FINE + text, OPTIONS, release=26)
    assert ignored.status is WARN
    assert found(FINE + text, PLACEMENT, release=26) == []


def test_an_alias_without_device_spec_offers_nothing() -> None:
    (offer,) = found(pci([], [GPU]), OPTIONS)
    assert (offer.status, offer.where) == (WARN, "nova.conf:2")
    assert found("[pci]\ndevice_specs = {}\n" + FINE, OPTIONS)


@pytest.mark.parametrize(
    ("text", "is_blocked"),
    [("yes", True), ("no", False), ("", False)],
)
def test_qemu_does_not_move_functions_by_post_copy(
    text: str, is_blocked: bool
) -> None:
    option = f"live_migration_permit_post_copy = {text}\n" if text else ""
    for value in ("yes", "no"):
        spec = CARD | {"live_migratable": value}
        blocked = found(f"[libvirt]\n{option}{pci([spec], [GPU])}", OPTIONS)
        expected = is_blocked and value == "yes"
        assert [f.status for f in blocked] == [WARN] * expected


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (FINE, None),
        (FILTER + FINE, None),
        # What nova-compute never reports, nobody finds.
        (SCHEDULER + FINE, FAIL),
        (f"{SCHEDULER}[pci]\nreport_in_placement = no\n{FINE}", FAIL),
        # The files of nova-api, which reports nothing.
        (SCHEDULER + pci([], [GPU]), None),
        # Those of nova-compute only.
        (REPORT + FINE, WARN),
        # Reported first, requested later: as Nova's guide has it.
        (f"{REPORT}[filter_scheduler]\npci_in_placement = no\n{FINE}", None),
    ],
)
def test_what_is_requested_from_placement_is_reported_to_it(
    text: str, status: Status | None
) -> None:
    placement = [f.status for f in found(text, PLACEMENT)]
    assert placement == ([] if status is None else [status])


@pytest.mark.parametrize(
    (OPTIONS, "release", "names"),
    [
        ("enabled_filters = ComputeFilter,PciPassthroughFilter", 34, ""),
        ("enabled_filters = PciPassthroughFilter,IommuGroupFilter", 34,
         "IommuGroupFilter"),
        ("enabled_filters = PciPassthroughFilter,RetryFilter", 34,
         "RetryFilter"),
        ("enabled_filters = PciPassthroughFilter,AvailabilityZoneFilter", 28,
         "AvailabilityZoneFilter"),
        ("enabled_filters = PciPassthroughFilter,AvailabilityZoneFilter", 27,
         ""),
        ("enabled_filters = PciPassthroughFilter\navailable_filters = a.B",
         34, "PciPassthroughFilter"),
        ("enabled_filters = B\navailable_filters = a.B", 34, ""),
        # A function that returns classes: nobody knows which.
        ("enabled_filters = B\navailable_filters = a.all_of_them", 34, ""),
        # The default, of Nova's own filters.
        ("available_filters = a.B", 34, "ComputeFilter"),
    ],
)  # fmt: skip
def test_filters_that_cannot_be_loaded(
    options: str, release: int, names: str
) -> None:
    text = f"[filter_scheduler]\n{options}\n{FINE}"
    failed = [f for f in found(text, FILTERS, release) if f.status is FAIL]
    assert len(failed) == bool(names)
    assert all(names in f.detail for f in failed)


def test_an_empty_list_of_filters_is_no_default() -> None:
    options = f"enabled_filters =\navailable_filters = {OWN_FILTER}\n"
    text = f"[filter_scheduler]\n{options}{FINE}"
    (missing,) = found(text, FILTERS)
    assert (missing.status, missing.remedy) == (WARN, f"add {PCI_FILTER}")


def test_the_filter_of_this_package_is_added_to_nova_s_own() -> None:
    """Nova's default is no longer in force where the option is set."""
    text = "[filter_scheduler]\nenabled_filters = IommuGroupFilter\n"
    (failed,) = (f for f in found(text + FINE, FILTERS) if f.status is FAIL)
    assert failed.remedy.count("available_filters = ") == 2
    text += "available_filters = nova.scheduler.filters.all_filters\n"
    (failed,) = (f for f in found(text + FINE, FILTERS) if f.status is FAIL)
    assert failed.remedy.count("available_filters = ") == 1


def test_instances_with_an_alias_need_the_filter_of_pci_devices() -> None:
    text = "[filter_scheduler]\nshuffle_best_same_weighed_hosts = True\n"
    (missing,) = found(text + FINE, FILTERS)
    assert (missing.status, missing.where) == (WARN, "nova.conf:2")
    # Alone it would turn Nova's default filters off.
    assert ",".join((*DEFAULT_FILTERS, PCI_FILTER)) in missing.remedy
    assert found(FINE, FILTERS) == []
    assert kinds(hosts.four_functions(), text + pci([CARD])) == []


@pytest.mark.parametrize(
    ("option", "path", "is_loaded"),
    [
        ("available_filters", control_plane.NOVAS_FILTERS, True),
        ("available_filters", control_plane.GROUP_FILTER_PATH, True),
        ("available_filters",
         "nova.scheduler.filters.pci_passthrough_filter.PciPassthroughFilter",
         True),
        ("available_filters", "other_project.filters.OtherFilter", True),
        ("available_filters", "", False),
        ("available_filters", "nova.scheduler.filter.all_filters", False),
        ("available_filters",
         "nova.scheduler.filters.retry_filter.RetryFilter", False),
        ("available_filters",
         f"{control_plane.NOVAS_FILTERS},{control_plane.GROUP_FILTER_PATH}",
         False),
        ("available_filters", "gpu_passthrough_plugin.nova.filters", False),
        ("available_filters", "other_project:OtherFilter", False),
        ("weight_classes", "", True),
        ("weight_classes",
         f"{control_plane.NOVAS_WEIGHERS}, {control_plane.WEIGHER}", True),
        ("weight_classes", "nova.scheduler.weights.pci.PCIWeigher", True),
        ("weight_classes", "other_project.weights.OtherWeigher", True),
        ("weight_classes", control_plane.GROUP_FILTER_PATH, False),
        ("weight_classes", "nova.scheduler.weights.all_weigher", False),
        ("weight_classes", f"a.B,,{control_plane.WEIGHER}", False),
        ("weight_classes", "a.B,", True),
    ],
)  # fmt: skip
def test_what_nova_scheduler_imports(
    option: str, path: str, is_loaded: bool
) -> None:
    text = f"[filter_scheduler]\n{option} = {path}\n{FINE}"
    failed = [f for f in found(text, FILTERS) if "imported" in f.detail]
    assert len(failed) == (not is_loaded)
    assert all((f.status, f.where) == (FAIL, "nova.conf:2") for f in failed)


def test_only_the_last_list_of_weighers_counts() -> None:
    lines = "weight_classes = nova.x\nweight_classes = a.B\n"
    text = f"[filter_scheduler]\n{lines}{FINE}"
    assert FAIL not in {f.status for f in found(text, FILTERS)}
