"""What a cause says and how sure it is, where that is not always the same."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import Header
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import (
    RELEASE,
    Fields,
    card,
    case,
    enabled,
    found,
    member,
    names,
    target,
    ungrouped,
)
from tests.unit.diagnosis.examples.driver import (
    ADDED,
    AUDIO,
    BOTH,
    GPU,
    HALF,
    NOUVEAU,
    PATH,
    VFIO,
    conf,
    image,
)
from tests.unit.diagnosis.examples.function import (
    ASLEEP,
    DENIED,
    IDS,
    QAT,
    STRANGER,
    bound,
    twin,
)
from tests.unit.diagnosis.examples.host import (
    BOTH as ENTRIES,
)
from tests.unit.diagnosis.examples.host import (
    MENU,
    NONE,
    ONE,
    SOURCE,
    UNGROUPED,
    told,
)
from tests.unit.isolation.values import audio, facts, gpu, port

LOST = Unknown(Why.UNREADABLE, "Permission denied")


def cause(name: str, of: Case) -> Cause:
    (found,) = [c for c in catalogue.causes(of) if c.name == name]
    return found


def said(name: str, of: Case) -> str:
    """How sure a cause is; empty where it is not said at all."""
    sure = [c.confidence for c in catalogue.causes(of) if c.name == name]
    return sure[0] if sure else ""


def test_firmware_of_an_unknown_maker_or_unknown_tables() -> None:
    both = cause(
        "firmware-off",
        ungrouped(acpi_tables=frozenset({"FACP"}), cpu_vendor=LOST),
    )
    assert both.confidence == "likely"
    assert both.text.startswith("VT-d or AMD-Vi (IOMMU) is off")
    assert both.evidence.endswith("no DMAR and no IVRS")
    assert said("firmware-off", ungrouped(acpi_tables=LOST)) == "possible"


def test_a_missing_argument_of_which_not_all_is_known() -> None:
    quiet: Fields = {"kernel_arguments": ("quiet",)}
    name = "argument-missing"
    assert said(name, ungrouped(**quiet)) == "likely"
    assert said(name, ungrouped(**quiet, acpi_tables=LOST)) == "possible"
    assert said(name, ungrouped(**quiet, iommus=LOST)) == "possible"
    assert said(name, ungrouped(**quiet, iommus=("dmar0",))) == ""


def test_without_a_line_of_the_log_the_start_is_only_guessed_at() -> None:
    silent = case(*UNGROUPED, **told("intel_iommu=on"))
    assert names(catalogue.causes(silent))[:2] == [
        "iommu-not-started",
        "iommu-driver-missing",
    ]
    assert said("iommu-not-started", silent) == "likely"
    assert said("iommu-driver-missing", silent) == "possible"
    off = case(*UNGROUPED, **told("intel_iommu=on", "iommu=off"))
    assert said("iommu-not-started", off) == ""


def test_other_functions_groups_show_that_an_iommu_runs() -> None:
    other = member(gpu("82:00.0", iommu_group=7))
    mixed = case(*UNGROUPED, other, facts=facts(iommus=LOST))
    assert cause("not-covered", mixed).evidence == (
        "0000:06:00.0 has no iommu_group; other functions are in groups"
    )
    assert said("not-covered", mixed) == "likely"


def test_an_entry_that_has_it_waits_for_a_reboot() -> None:
    waits = cause("not-rebooted", case(*UNGROUPED, **told(entries=ONE)))
    assert waits.confidence == "likely"
    assert waits.evidence == f"{MENU}:100: intel_iommu=on"
    other = case(*UNGROUPED, **told(entries=ONE))
    assert said("other-boot-entry", other) == "possible"
    assert said("other-boot-entry", case(*UNGROUPED, **told())) == ""


def test_what_was_enabled_is_looked_for_on_a_host_with_groups_too() -> None:
    done = enabled(arguments=("rd.driver.pre=vfio-pci",))
    lacking = case(
        enablement=done, entries={"/boot/a.conf": ("rd.driver.pre=vfio-pci",)}
    )
    assert "rd.driver.pre=vfio-pci" in cause("other-boot-entry", lacking).text
    # An argument for groups is no matter where groups are.
    assert said("not-rebooted", case(facts=facts(kernel_arguments=()),
                                     entries=ENTRIES)) == ""  # fmt: skip
    runs = facts(kernel_arguments=(), iommus=("dmar0",))
    assert said(
        "not-rebooted", case(*UNGROUPED, facts=runs, entries=ENTRIES)
    ) == ""  # fmt: skip


@pytest.mark.parametrize(
    ("tools", "entries", "command"),
    [
        (["update-grub", "grub2-mkconfig"], NONE, "run 'update-grub'"),
        (["grub2-mkconfig"], NONE, f"run 'grub2-mkconfig -o {MENU}'"),
        ([], NONE, "run 'gpu-passthrough host enable'"),
        (
            ["grub2-mkconfig", "update-grub"],
            {"/boot/loader/entries/a.conf": ("quiet",)},
            "run 'gpu-passthrough host enable'",
        ),
    ],
)
def test_the_command_that_generates(
    tools: list[str], entries: dict[str, tuple[str, ...]], command: str
) -> None:
    stale = case(
        *UNGROUPED,
        **told(
            configured=SOURCE, entries=entries, installation=found(tools=tools)
        ),
    )
    assert cause("not-regenerated", stale).fix == f"{command}, then reboot"


def test_how_sure_a_sleep_is() -> None:
    assert said("d3cold", case(log=(ASLEEP,))) == "likely"
    assert said("d3cold", case(*bound(), log=(ASLEEP,))) == "possible"


def test_a_bridge_by_its_class_only() -> None:
    guessed = case(member(port("06:00.0", driver="pcieport"), header=LOST))
    assert said("bridge", guessed) == "likely"
    other = case(
        member(port("06:00.0", driver="pcieport"), header=Header.ENDPOINT)
    )
    assert said("bridge", other) == ""


def test_denied_by_its_ids() -> None:
    assert said("denied", case(member(QAT))) == "likely"
    unlisted = case(log=(DENIED.replace("8086:37c8", "10de:1430"),))
    assert said("denied", unlisted) == "certain"
    for text in (
        "options nouveau disable_denylist=1",
        "softdep vfio-pci disable_denylist=1",
        "options vfio-pci disable_denylist=0",
    ):
        assert said("denied", case(member(QAT), **conf(text))) == "likely"


def test_what_keeps_vfio_pci_away() -> None:
    name = "vfio-blacklisted"
    line = cause(name, case(**conf("blacklist vfio_pci")))
    assert (line.confidence, line.evidence) == (
        "likely",
        f"{PATH}:1: blacklist vfio_pci",
    )
    assert said(name, case(**conf("install vfio-pci /bin/false"))) == "certain"
    assert said(name, case(**conf("remove vfio-pci /bin/false"))) == ""


def test_a_file_that_modprobe_passes_over() -> None:
    odd = found(names={"/etc/modprobe.d": ("blacklist", "vfio.cfg")})
    passed_over = cause("modprobe-unread", case(installation=odd))
    assert passed_over.confidence == "possible"
    assert passed_over.evidence == (
        "/etc/modprobe.d/vfio.cfg does not end in .conf"
    )
    plain = found(names={"/etc/modprobe.d": ("blacklist",)})
    assert said("modprobe-unread", case(installation=plain)) == ""
    log = ("vfio_pci: unknown parameter 'id' ignored",)
    assert cause("modprobe-unread", case(log=log)).evidence == log[0]


@pytest.mark.parametrize(
    "line",
    [
        "systemd-modules-load[1]: Failed to find module 'vfio_pci'",
        "modprobe: FATAL: Module vfio-pci not found in directory /lib",
        "gpu-passthrough: vfio-pci cannot be loaded",
    ],
)
def test_a_log_that_misses_vfio_pci(line: str) -> None:
    missing = cause("vfio-missing", case(log=(line,)))
    assert (missing.confidence, missing.evidence) == ("likely", line)
    assert said("vfio-missing", case(log=(line,), has_vfio=True)) == ""


def test_configuration_that_is_partly_unread() -> None:
    hidden = "/etc/modprobe.d/secret.conf"
    half = found({PATH: HALF, hidden: ""})
    partly = half._replace(files={**half.files, hidden: LOST})
    lacks = case(AUDIO, GPU, installation=partly)
    assert said("ids-incomplete", lacks) == "possible"
    none = found({hidden: ""})._replace(files={hidden: LOST})
    not_enabled = cause("not-enabled", case(installation=none))
    assert not_enabled.confidence == "possible"
    assert not_enabled.evidence.endswith(f"unknown: {hidden}")


def test_the_whole_list_of_ids_in_the_file_that_has_some() -> None:
    for of, sure in (
        (case(AUDIO, GPU, **conf(HALF)), "certain"),
        (case(GPU, AUDIO, **conf(HALF)), "likely"),
    ):
        lacks = cause("ids-incomplete", of)
        assert lacks.confidence == sure
        assert "lacks 10de:0fba (0000:06:00.1) of this group" in lacks.text
        assert f"'{BOTH}' in {PATH}" in lacks.fix
    taken = cause("ids-incomplete", case(AUDIO, GPU, log=(ADDED,)))
    assert taken.evidence == ADDED
    assert f"'{BOTH}' in /etc/modprobe.d/vfio.conf" in taken.fix


def test_what_the_early_script_said() -> None:
    line = "gpu-passthrough: 0000:06:00.0 is left alone: no driver_override"
    other = line.replace("06:00.0", "82:00.0")
    unread = member(gpu(driver="nouveau"), driver_override=LOST)
    done: Fields = {"enablement": enabled()}
    lost = cause("override-lost", case(unread, log=(other, line), **done))
    assert lost.evidence == line
    assert said("override-lost", case(unread, log=(other,), **done)) == ""


def test_an_image_without_vfio_pci_and_nobody_there_first() -> None:
    free = case(*card(driver=None), **image(enablement=enabled()))
    assert said("vfio-not-in-image", free) == "possible"
    unknown = facts(kernel_release=LOST)
    lost = case(**image(enablement=enabled()), facts=unknown)
    assert said("vfio-not-in-image", lost) == ""
    older = case(images={"5.10.0": (VFIO,)}, enablement=enabled())
    assert said("script-not-in-image", older) == ""


def test_a_driver_that_the_log_shows_to_be_first() -> None:
    vfio = "VFIO - User Level meta-driver version: 0.3"
    command = "Kernel command line: rd.driver.pre=vfio-pci"
    for log, text in (
        ((command, NOUVEAU, vfio), "nouveau bound 0000:06:00.0 before"),
        ((vfio, NOUVEAU), "nouveau has 0000:06:00.0"),
        # A log that has lost its beginning.
        ((NOUVEAU,), "nouveau has 0000:06:00.0"),
        ((vfio,), "nouveau has 0000:06:00.0"),
    ):
        assert cause("competing-driver", case(log=log)).text.startswith(text)
    silent = cause("competing-driver", case())
    assert (
        silent.evidence == "/sys/bus/pci/devices/0000:06:00.0/driver: nouveau"
    )


def test_a_driver_that_is_built_in_is_taken_by_address_only() -> None:
    made_in = found(builtin=["nouveau"])
    fix = cause("competing-driver", case(installation=made_in)).fix
    assert "--binding address" in fix and "softdep" not in fix
    by_module = case(installation=found(builtin=["xhci_pci"]))
    wanted = target(gpu(), modules=("xhci_pci",))
    other = cause("competing-driver", by_module._replace(target=wanted))
    assert "--binding address" in other.fix
    assert "softdep nouveau pre: vfio-pci" in cause(
        "competing-driver", case()
    ).fix  # fmt: skip


def test_what_helps_a_group_that_is_shared() -> None:
    other_card = cause("group-shared", case(*bound(), STRANGER))
    assert "ACS" in other_card.fix
    usb = member(gpu("06:00.2", driver="xhci_hcd", class_code=0x0C0330))
    same_card = cause("group-shared", case(*bound(), usb))
    assert same_card.fix == (
        "run 'gpu-passthrough host enable --select 0000:06:00.2'"
    )
    unread = member(gpu("07:00.0", driver=LOST))
    assert said("group-shared", case(*bound(), unread)) == "possible"


def test_without_groups_none_is_shared() -> None:
    usb = member(gpu("06:00.2", driver="xhci_hcd", iommu_group=None))
    assert said("group-shared", case(*UNGROUPED, usb)) == ""


def test_a_twin_whose_override_is_unknown_is_likely_captured() -> None:
    name = "identical-captured"
    there: Fields = {"installation": found(IDS)}
    unread = twin("vfio-pci", driver_override=LOST)
    assert said(name, case(*bound(), unread, **there)) == "likely"
    held = twin("vfio-pci", driver_override="pci-stub")
    assert said(name, case(*bound(), held, **there)) == "likely"


@pytest.mark.parametrize(
    "text",
    [
        "options vfio_pci allow_unsafe_interrupts=1",
        "softdep vfio_iommu_type1 allow_unsafe_interrupts=1",
        "options vfio_iommu_type1 allow_unsafe_interrupts=0",
    ],
)
def test_what_does_not_allow_unsafe_interrupts(text: str) -> None:
    told = facts(kernel_arguments=("nointremap",), kernel_release=RELEASE)
    unsafe = cause(
        "interrupt-remapping", case(*bound(), facts=told, **conf(text))
    )
    assert unsafe.confidence == "likely"
    assert unsafe.evidence == "/proc/cmdline: nointremap"


def test_the_fellows_of_a_function_without_a_group_are_its_card() -> None:
    other = member(gpu("82:00.0", iommu_group=None))
    alone = case(*UNGROUPED, other)
    assert [m.address for m in alone.fellows] == [
        address.parse("06:00.0"),
        address.parse("06:00.1"),
    ]
    grouped = case(*card(), member(audio("07:00.1")), twin("nouveau"))
    assert len(grouped.fellows) == 3
    assert alone._replace(member=None).fellows == ()
