"""What mkinitcpio is given, and asked to build."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import InitramfsContent
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import (
    CONFIGURATION,
    DROP_IN,
    HOOK,
    INSTALL,
    Mkinitcpio,
)
from gpu_passthrough_plugin.model.change import Action, Build
from gpu_passthrough_plugin.model.installation import Installation
from tests.trees.arch import arch
from tests.trees.host import Host
from tests.trees.installed import installation
from tests.unit.enablement.values import installed, written

DRIVER = Mkinitcpio()
MODULES = ("vfio", "vfio_pci")
OURS = "/etc/modprobe.d/gpu-passthrough.conf"
ADDRESS = InitramfsContent("echo bound\n", MODULES)
IDS = InitramfsContent("", MODULES, (OURS,))
PRESET = "etc/mkinitcpio.d/linux.preset"
HOOKS = "HOOKS=(base udev autodetect modconf block filesystems)\n"
NOTHING = InitramfsContent()


def host(configuration: str = HOOKS, *, drop_ins: bool = True) -> Host:
    made = arch()
    made.file(CONFIGURATION[1:], f"MODULES=()\n{configuration}")
    if drop_ins:
        made.folder("etc/mkinitcpio.conf.d")
    return made


def of(made: Host) -> Installation:
    return installation(made.tree())


def built(there: Installation, content: InitramfsContent = ADDRESS) -> Build:
    build = DRIVER.build(there, there.kernels[0], content)
    assert build is not None
    return build


def test_modules_first_and_the_hook_before_udev() -> None:
    files = written(DRIVER.files(of(host()), ADDRESS))
    assert files.keys() == {INSTALL, HOOK, DROP_IN}
    assert (files[DROP_IN] or "").splitlines()[1:-1] == [
        "MODULES=(vfio vfio_pci ${MODULES[*]})",
        '_gpupt=" ${HOOKS[*]} "',
        "HOOKS=(${_gpupt/ udev / gpu-passthrough udev })",
        "unset _gpupt",
    ]
    assert (files[HOOK] or "").endswith("run_earlyhook() {\necho bound\n}\n")
    assert "add_runscript" in (files[INSTALL] or "")


def test_ids_need_no_hook_and_no_udev() -> None:
    files = written(DRIVER.files(of(arch()), IDS))
    assert files.keys() == {CONFIGURATION}
    assert f"FILES=(${{FILES[*]}} {OURS})" in (files[CONFIGURATION] or "")
    assert "HOOKS=(base systemd" in (files[CONFIGURATION] or "")
    assert "_gpupt" not in (files[CONFIGURATION] or "")


def test_without_drop_ins_the_configuration_is_appended_to() -> None:
    before = f"MODULES=()\n{HOOKS}"
    text = written(DRIVER.files(of(host(drop_ins=False)), ADDRESS))[
        CONFIGURATION
    ]
    assert text is not None
    assert text.startswith(f"{before}\n# Written by 'gpu-passthrough")
    assert text.endswith("# gpu-passthrough: end\n")


def test_a_preset_with_a_configuration_reads_no_drop_in() -> None:
    made = host()
    made.file(
        PRESET, f'ALL_config="{CONFIGURATION}"\nPRESETS=(default) # one\n'
    )
    assert CONFIGURATION in written(DRIVER.files(of(made), ADDRESS))
    made.file(PRESET, "PRESETS=(default)\n#default_config=/etc/other\n")
    assert DROP_IN in written(DRIVER.files(of(made), ADDRESS))
    made.file(PRESET, "PRESETS=(default)\ndefault_config='/etc/other'\n")
    with pytest.raises(errors.Refused, match=r"linux\.preset .*/etc/other"):
        DRIVER.files(of(made), ADDRESS)


def test_a_second_plan_keeps_what_the_first_wrote() -> None:
    made = host(drop_ins=False)
    for path, text in written(DRIVER.files(of(made), ADDRESS)).items():
        made.file(path[1:], text or "")
    again = DRIVER.files(of(made), ADDRESS)
    assert {w.action for w in again} == {Action.KEEP}
    assert len(again) == 3


def test_lines_after_the_block_stay() -> None:
    made = host(drop_ins=False)
    text = written(DRIVER.files(of(made), ADDRESS))[CONFIGURATION]
    made.file(CONFIGURATION[1:], f"{text}COMPRESSION=zstd\n")
    changed = written(DRIVER.files(of(made), ADDRESS))[CONFIGURATION] or ""
    assert changed.startswith(f"MODULES=()\n{HOOKS}COMPRESSION=zstd\n\n# W")
    without = written(DRIVER.files(of(made), NOTHING))[CONFIGURATION]
    assert without == f"MODULES=()\n{HOOKS}COMPRESSION=zstd\n"


def test_the_block_moves_to_where_it_is_read() -> None:
    made = host(drop_ins=False)
    text = written(DRIVER.files(of(made), ADDRESS))[CONFIGURATION]
    made.file(CONFIGURATION[1:], text or "")
    made.folder("etc/mkinitcpio.conf.d")
    files = written(DRIVER.files(of(made), ADDRESS))
    assert files[CONFIGURATION] == f"MODULES=()\n{HOOKS}"
    assert DROP_IN in files


@pytest.mark.parametrize(
    "hooks",
    [
        "HOOKS=(base systemd autodetect)\n",
        "HOOKS=(base udev)\nHOOKS+=(systemd)\n",
        'HOOKS="base systemd"\n',
        "HOOKS=(\n  base # the base\n  systemd\n)\n",
    ],
)
def test_no_early_hook_runs_with_systemd(hooks: str) -> None:
    with pytest.raises(errors.Refused, match=r"systemd.*--binding ids"):
        DRIVER.files(of(host(hooks)), ADDRESS)


@pytest.mark.parametrize(
    "hooks",
    [
        "HOOKS=(base systemd)\nHOOKS=(base udev)\n",
        "#HOOKS=(base systemd)\nHOOKS=(base udev)\n",
        'HOOKS="base udev"\n',
        "  HOOKS=(base\n# systemd\nudev)\n",
        "HOOKS=(base)\nHOOKS+=(udev)\n",
    ],
)
def test_hooks_as_bash_evaluates_them(hooks: str) -> None:
    assert HOOK in written(DRIVER.files(of(host(hooks)), ADDRESS))


def test_hooks_of_other_drop_ins_count() -> None:
    made = host("HOOKS=(base systemd)\n")
    made.file("etc/mkinitcpio.conf.d/10-hooks.conf", HOOKS)
    made.file(DROP_IN[1:], "HOOKS=(systemd)\n")
    assert HOOK in written(DRIVER.files(of(made), ADDRESS))


@pytest.mark.parametrize("hooks", ["", "HOOKS=(base)\n"])
def test_a_script_without_the_udev_hook_is_refused(hooks: str) -> None:
    with pytest.raises(errors.Refused, match="udev"):
        DRIVER.files(of(host(hooks)), ADDRESS)


@pytest.mark.parametrize(
    "hooks", ["HOOKS=('\n", "HOOKS=($X udev)\n", "HOOKS=(udev)\n. /x\n"]
)
def test_hooks_that_only_bash_can_evaluate_are_refused(hooks: str) -> None:
    with pytest.raises(errors.Refused) as caught:
        DRIVER.files(of(host(hooks)), ADDRESS)
    line = hooks.split("\n")[-2]
    assert line in str(caught.value)
    assert DROP_IN in written(DRIVER.files(of(host(hooks)), IDS))


def test_a_preset_that_only_bash_can_evaluate_is_refused() -> None:
    made = host()
    made.file(PRESET, "PRESETS=(default)\ndefault_uki=$(x)\n")
    with pytest.raises(errors.Refused) as caught:
        DRIVER.files(of(made), IDS)
    assert f"/{PRESET}" in str(caught.value)
    assert "default_uki=$(x)" in str(caught.value)


def test_a_unified_kernel_image_is_refused() -> None:
    made = host()
    made.file(PRESET, "PRESETS=(default)\ndefault_uki=/efi/EFI/linux.efi\n")
    with pytest.raises(errors.Refused, match=r"image /efi/EFI/linux\.efi"):
        DRIVER.files(of(made), IDS)


def test_a_missing_configuration_is_refused() -> None:
    with pytest.raises(errors.Refused, match=r"/etc/mkinitcpio\.conf"):
        DRIVER.files(installed(), IDS)


def test_an_image_is_built_at_another_path() -> None:
    build = built(of(host()))
    assert build.image == "/boot/initramfs-linux.img"
    assert build.argv == (
        "/usr/bin/mkinitcpio", "-k", "6.14.6-arch1-1", "-g", "{new}",
    )  # fmt: skip
    assert build.list_argv == ("/usr/bin/lsinitcpio", "{new}")


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ('default_options="-S autodetect"', ["-S", "autodetect"]),
        ("default_options=(-S 'autodetect')", ["-S", "autodetect"]),
        ("ALL_config='/etc/a.conf'", ["-c", "/etc/a.conf"]),
        (
            "ALL_config=/etc/a.conf\ndefault_config=/etc/b.conf",
            ["-c", "/etc/b.conf"],
        ),
        ("fallback_options=-Q", []),
    ],
)
def test_an_image_is_built_with_the_options_of_its_preset(
    preset: str, words: list[str]
) -> None:
    made = host()
    made.file(
        PRESET,
        "PRESETS=('default' 'fallback')\n"
        'default_image="/boot/initramfs-linux.img"\n'
        f'fallback_image="/boot/initramfs-linux-fallback.img"\n{preset}\n',
    )
    assert built(of(made)).argv[3:] == (*words, "-g", "{new}")


def test_the_listing_shows_the_hook() -> None:
    # As lsinitcpio lists it.
    listing = (
        "hooks/gpu-passthrough\n"
        "usr/lib/modules/6.14.6-arch1-1/kernel/drivers/vfio/vfio.ko\n"
        "usr/lib/modules/6.14.6-arch1-1/kernel/drivers/vfio/pci/"
        "vfio-pci.ko.zst\n"
    ).splitlines()
    for pattern in built(of(host())).required_patterns:
        assert sum(bool(re.search(pattern, row)) for row in listing) == 1


def test_which_hosts_it_claims() -> None:
    assert DRIVER.claims(of(arch())) == (
        "/usr/bin/mkinitcpio is installed, and /etc/mkinitcpio.d/linux.preset"
    )
    assert DRIVER.claims(installed()) is None
