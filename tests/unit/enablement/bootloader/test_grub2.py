"""GRUB 2: edits of /etc/default/grub, and the menu."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.change import Action
from tests.trees import boot, redhat
from tests.trees.host import Host
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON

DEFAULTS = "/etc/default/grub"


def host(text: str) -> Host:
    """CentOS 7 with these defaults."""
    made = redhat.centos7()
    made.file("etc/default/grub", text)
    return made


def after(text: str) -> str:
    """What CentOS 7's defaults become."""
    plan = planning.plan(planning.installed(host(text)), ON)
    return planning.writes(plan).get(DEFAULTS) or text


L = "GRUB_CMDLINE_LINUX"

W = "intel_iommu=on"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{L}="quiet"\n', f'{L}="quiet {W}"\n'),
        (f'{L}="quiet"', f'{L}="quiet {W}"'),
        (f'{L}=""\r\nA=1\r\n', f'{L}="{W}"\r\nA=1\r\n'),
        (f"{L}='a b'\n", f"{L}='a b {W}'\n"),
        (f"{L}=quiet # no\n", f'{L}="quiet {W}" # no\n'),
        (f"{L}=\n", f'{L}="{W}"\n'),
        (f'export {L}="a"\n', f'export {L}="a {W}"\n'),
        # The seed's own line, and both on one.
        (f'{L}="ro intel_opmmu=on q"\n', f'{L}="ro {W} q"\n'),
        (f'{L}="{W} ro intel_iommu=off"\n', f'{L}="{W} ro"\n'),
        (f'{L}="intel_iommu=off,sm_on"\n', f'{L}="{W},sm_on"\n'),
        # Comments are not read, and the last one counts.
        (f'#{L}="x"\n{L}="a"\n', f'#{L}="x"\n{L}="a {W}"\n'),
        (f'{L}="a"\n{L}="b"\n', f'{L}="a"\n{L}="b {W}"\n'),
        (f'{L}="a"\n{L}+=" b"\n', f'{L}="a"\n{L}+=" b {W}"\n'),
        (f'{L}="{W}"\n{L}+=" b"\n', None),
        (f'A="x y"\n{L}="$A ${{B}} q"\n', f'A="x y"\n{L}="$A ${{B}} q {W}"\n'),
        # Wrong words are corrected in the other variable as well.
        (
            f'{L}_DEFAULT="iommu=off q"\n{L}="a"\n',
            f'{L}_DEFAULT="q"\n{L}="a {W}"\n',
        ),
        # Blanks, quotes within, a line that goes on.
        (f'{L}="a=\\"b c\\"  d "\n', f'{L}="a=\\"b c\\"  d {W} "\n'),
        (f'{L}="a \\\n  b"\n', f'{L}="a \\\n  b {W}"\n'),
    ],
)
def test_defaults_are_edited_in_place(text: str, expected: str | None) -> None:
    assert after(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'{L}="$(cat /x)"\n', f'{L}="$(cat /x)"'),
        (f"{L}=`cat /x`\n", f"{L}="),
        (f"{L}=\"a\"'b'\n", f"{L}=\"a\"'b'"),
        (f'{L}="${{A:-b}}"\n', "${A:-b}"),
        (f'A=$(x)\n{L}="$A"\n', f'{L}="$A"'),
        (f'if x; then\n  {L}="a"\nfi\n', f'{L}="a"'),
        (f'x &&\\\n\t{L}="a"\n', f'{L}="a"'),
        (f'{L}="a"\n[ -e /x ] && {L}="b"\n', "[ -e /x ] &&"),
        (f'{L}="a" grub-thing\n', f'{L}="a"'),
        (f'{L}="a\n', f"{L}="),
        ("GRUB_TIMEOUT=5\n", f"{L}="),
    ],
)
def test_what_only_a_shell_can_evaluate_is_refused(
    text: str, line: str
) -> None:
    here = planning.installed(host(text))
    with pytest.raises(errors.Refused) as refused:
        planning.plan(here, ON)
    message = str(refused.value)
    assert message.startswith(DEFAULTS)
    assert line in message
    # Looking is no offence.
    assert planning.chosen(here).configured(here).entries


def test_a_misspelt_argument_is_a_note() -> None:
    here = planning.installed(host('GRUB_CMDLINE_LINUX="intel_opmmu=on"\n'))
    (note,) = planning.plan(here, ON).notes
    assert note.startswith("intel_opmmu=on ")


def test_the_menu_on_the_efi_partition_is_the_right_one() -> None:
    stub = redhat.centos7_efi()
    stub.file("boot/efi/EFI/centos/grub.cfg", boot.STUB)
    stub.file("boot/grub2/grub.cfg", boot.menu("C", [("/vmlinuz-3", "ro")]))
    (argv,) = planning.argv(planning.plan(planning.installed(stub)))
    assert argv[2] == "/boot/grub2/grub.cfg"
    two = redhat.centos7_efi()
    two.file("boot/efi/EFI/old/grub.cfg", boot.menu("O", [("/v-1", "ro")]))
    with pytest.raises(errors.Refused) as refused:
        planning.plan(planning.installed(two))
    for vendor in ("centos", "old"):
        assert f"/boot/efi/EFI/{vendor}/grub.cfg" in str(refused.value)
    lone = redhat.centos7_efi()
    lone.file("boot/efi/EFI/centos/grub.cfg", boot.STUB)
    with pytest.raises(errors.Refused, match=r"/boot/grub2/grub\.cfg"):
        planning.plan(planning.installed(lone))


def test_on_a_bios_the_menu_of_an_efi_partition_is_ignored() -> None:
    made = redhat.centos7()
    made.file("boot/efi/EFI/centos/grub.cfg", boot.menu("C", [("/v-3", "ro")]))
    (argv,) = planning.argv(planning.plan(planning.installed(made)))
    assert argv[2] == "/boot/grub2/grub.cfg"


def test_loader_entries_are_not_written_by_the_generator() -> None:
    made = redhat.centos7()
    made.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    with pytest.raises(errors.Refused, match="/boot/loader/entries"):
        planning.plan(planning.installed(made))


def test_the_generator_is_run_where_the_menu_lacks_it() -> None:
    made = host('GRUB_CMDLINE_LINUX="intel_iommu=on"\n')
    (run,) = planning.runs(planning.plan(planning.installed(made), ON))
    assert run.action is Action.RUN
    assert run.touches == ("/boot/grub2/grub.cfg",)
    assert run.output == "/boot/grub2/grub.cfg"
    assert run.target == "/usr/sbin/grub2-mkconfig -o /boot/grub2/grub.cfg"
    assert run.undo_argv == run.argv
    root = [("/vmlinuz-3", "ro intel_iommu=on")]
    made.file(
        "boot/grub2/grub.cfg",
        # Another system's entries, and a memory test, are not ours.
        boot.menu("CentOS", root)
        + "### BEGIN /etc/grub.d/30_os-prober ###\n\tlinux /v root=/dev/sdb\n"
        "### END /etc/grub.d/30_os-prober ###\n",
    )
    (run,) = planning.runs(planning.plan(planning.installed(made), ON))
    assert run.action is Action.KEEP
