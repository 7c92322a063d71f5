"""What may leave a host, and what takes the place of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import (
    grub_menu,
    kernel_cmdline,
    modprobe,
    shell_assignments,
)
from gpu_passthrough_plugin.model.identifiers import HIDDEN, Kind
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.trees import boot


@pytest.mark.parametrize(
    "text",
    [
        "P: /devices/pci0000:00/0000:00:02.0/0000:06:00.0",
        "vfio-pci 0000:06:00.0: enabling device (0000 -> 0003)",
        "vfio_pci: add [10de:1430[ffff:ffff]] class 0x000000/00000000",
        "Intel(R) Ethernet 05:32:54 on 2026-11-24",
        "serial8250: ttyS0 at I/O 0x3f8 (irq = 4) is a 16550A",
        "console=ttyS0,115200 intel_iommu=on iommu.passthrough=0",
        "arm-smmu.disable_bypass=0 vfio-pci.ids=10de:1430,10de:0fba zip=1",
        "Linux version 6.6.87.2-microsoft-standard-WSL2 #1 SMP",
        "snd_hda_intel 0000:06:00.1: SNR=7",
        "listening on 0.0.0.0 and ::1 and 127.0.0.1",
        "vconsole.keymap=de ip=dhcp rd.neednet=1",
        "amd_iommu=force_isolation NOPASS=1 ip=ibft",
        "sd 0:0:0:0: [sda] Sense Key : Illegal Request [current]",
        "AMD-Vi: Extended features (0x246577efa2254afa, 0x0)",
        "AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0010 address=0x7f0000]",
        "rd.iscsi.firmware=1 rd.iscsi.waitnet=0",
        "gpu-pass-through=1 vconsole.keymap=us i8042.nopnp",
        "ostree=/ostree/boot.1/default/"
        "5f0c2d3e8d1f4c8e9a570d6b6e0f4a115f0c2d3e8d1f4c8e9a570d6b6e0f4a11/0",
        "GRUB_TERMINAL=serial GRUB_SERIAL_COMMAND=x",
        "Serial: 8250/16550 driver, 32 ports, IRQ sharing enabled",
        "Linux version 5.15.0-3.60.5.1.el9uek.x86_64",
        "pci 10000:e1:00.0: [8086:0a54] type 00 class 0x010802",
        "DMAR: DRHD base: 0x000000fed90000 flags: 0x0",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    redaction = Redaction()
    assert redaction.arguments(text) == text
    assert redaction.summary() == "nothing"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "netroot=iscsi:me:secret@10.0.0.1::3260 ro",
            "netroot=iscsi:REDACTED ro",
        ),
        ("rd.iscsi.password=x quiet", "rd.iscsi.password=REDACTED quiet"),
        ('a="b c" systemd.set_credential="d e" f',
         'a="b c" systemd.set_credential=REDACTED f'),
        ('"rd.iscsi.password=x y" f', '"rd.iscsi.password=REDACTED" f'),
        ("kernelopts=root=x pw.key=/k", "kernelopts=root=x pw.key=REDACTED"),
        ("root=nfs:srv:/x,ro quiet", "root=nfs:REDACTED quiet"),
        (
            "ip=10.0.0.2::10.0.0.1:255.0.0.0:node-1:eth0:none",
            "ip=REDACTED",
        ),
        ("x=y,password=z", "x=y,password=REDACTED"),
        ("run --password hunter2 now", "run --password REDACTED now"),
        ('run --password "a b" now', "run --password REDACTED now"),
        ("run --password 'a b' now", "run --password REDACTED now"),
        ("curl --user bob:pw x", "curl --user REDACTED x"),
        ("curl -u 'bob:p w' x", "curl -u REDACTED x"),
        ("curl --user bob x", "curl --user bob x"),
        ("password = x y", "password = REDACTED y"),
        ("password: x y", "password: REDACTED y"),
        ("wifi psk='a b' y", "wifi psk='REDACTED' y"),
        ('{"password": "x y", "a": 1}', '{"password": "REDACTED", "a": 1}'),
        ("{'password':'x y'}", "{'password':'REDACTED'}"),
        ("PASSWORD+=x y", "PASSWORD+=REDACTED y"),
        ("rootpw=x pw=x pwd=x", "rootpw=REDACTED pw=REDACTED pwd=REDACTED"),
        ("userpw=x privkey=x", "userpw=REDACTED privkey=REDACTED"),
        ("cryptkey=/dev/sda:0:9 x", "cryptkey=REDACTED x"),
        ("rd.luks.key= intel_iommu=on", "rd.luks.key= intel_iommu=on"),
    ],
)  # fmt: skip
def test_arguments_keep_their_names(line: str, shown: str) -> None:
    assert Redaction().arguments(line) == shown
    assert Redaction().arguments(shown) == shown


SHELL = """\
# the root password is s3cret
GRUB_CMDLINE_LINUX="quiet rd.iscsi.password=s3cret x=\\"a b\\" iommu=pt"
GRUB_CMDLINE_LINUX_DEFAULT='ip=192.168.7.1 y="c d"'  # s3cret
GRUB_PASSWORD="s3 cret"
A=b#c
  # options vfio-pci ids=10de:1430
# gpu-passthrough: end
"""


def test_a_shells_file_is_read_as_before() -> None:
    redaction = Redaction()
    shown = redaction.shell(SHELL)
    assert "s3" not in shown
    assert "192.168" not in shown
    assert "# gpu-passthrough: end" in shown
    assert "# options vfio-pci ids=10de:1430" in shown
    assert shown.count("\n") == SHELL.count("\n")
    assert redaction.shell(shown) == shown
    assert redaction.summary() == (
        "passwords and keys (2), network arguments (1), comments (2)"
    )
    before, after = map(shell_assignments.evaluate, (SHELL, shown))
    assert after.value("A") == before.value("A") == "b#c"
    for name in ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"):
        assert argument_names(after.value(name)) == argument_names(
            before.value(name)
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password = x\nids = 1\n", "password = REDACTED\nids = 1\n"),
        ("password =x\nids = 1\n", "password =REDACTED\nids = 1\n"),
        ("password= x\nids = 1\n", "password=REDACTED REDACTED\nids = 1\n"),
        ("token: x y\n", "token: REDACTED y\n"),
        ("PASSWORD+=x y\n", "PASSWORD+=REDACTED y\n"),
        ("PASSWORD+='x y'\n", "PASSWORD+=REDACTED\n"),
        (
            '{"password": "x", "ids": "10de:1430"}\n',
            '{"password": "REDACTED", "ids": "10de:1430"}\n',
        ),
        (
            '{"password":"x","ids":[1]}\n',
            '{"password":"REDACTED","ids":[1]}\n',
        ),
        ("password 'x y' z\nquiet\n", "password 'REDACTED' REDACTED\nquiet\n"),
        (
            "password_pbkdf2 root grub.pbkdf2.sha512.1\nquiet\n",
            "password_pbkdf2 REDACTED REDACTED\nquiet\n",
        ),
        ("curl --user bob:x y\n", "curl --user REDACTED y\n"),
        ("curl -u 'bob:x' y\n", "curl -u 'REDACTED' y\n"),
        ("sort -u y\n", "sort -u y\n"),
        ("rd.luks.key= iommu=pt\n", "rd.luks.key=REDACTED iommu=pt\n"),
        ("PASSWORD=a'b'\"c\"d e\n", "PASSWORD=REDACTED e\n"),
        ('X="password = x y"\n', 'X="password = REDACTED y"\n'),
        ('X=\'"password": "x"\'\n', 'X=\'"password": "REDACTED"\'\n'),
    ],
)
def test_secrets_of_other_files(text: str, shown: str) -> None:
    assert Redaction().shell(text) == shown
    assert Redaction().shell(shown) == shown


NAMES = st.sampled_from(
    ["password", "rootpw", "userpw", "PWD", "privkey", "db.password",
     "wpa_psk", "api_key", "token", "PASSPHRASE", "root-pw"]
)  # fmt: skip
ASSIGNMENTS = st.sampled_from(
    ["{n}={v}", "{n}+={v}", "{n} = {v}", "{n}: {v}", "{n} : {v}", "{n} ={v}",
     '"{n}": {v}', "'{n}': {v}", '"{n}":{v}', '"{n}" : {v}', "--{n}={v}"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["s3cret", '"s3cret"', "'s3cret'", '"a s3cret"', "'a s3cret'",
     "a-s3cret", "a,s3cret", "/s3cret"]
)  # fmt: skip
AROUND = st.sampled_from(["{}", "x {} y", "a=b {}", "{}\nx=y\n", "{{{}}}"])


@given(NAMES, ASSIGNMENTS, VALUES, AROUND)
def test_however_a_secret_is_assigned(
    name: str, form: str, value: str, around: str
) -> None:
    text = around.format(form.format(n=name, v=value))
    for redact in (Redaction.arguments, Redaction.shell):
        shown = redact(Redaction(), text)
        assert "s3cret" not in shown
        assert redact(Redaction(), shown) == shown


def argument_names(value: object) -> list[str]:
    assert isinstance(value, str)
    words = kernel_cmdline.split(value)
    return [argument.name for argument in kernel_cmdline.arguments(words)]


def test_an_environment_block_keeps_its_signature() -> None:
    block = boot.grubenv(kernelopts="root=/dev/sda1 rd.luks.key=x ro")
    redacted = Redaction().file("boot/grub2/grubenv", block.encode())
    (words,) = grub_menu.environment(redacted.decode()).values()
    assert words.startswith("root=/dev/sda1 rd.luks.key=")
    assert "=x" not in words


def test_options_of_modules_are_read_as_before() -> None:
    text = "options vfio-pci ids=10de:1430\noptions wl psk=s3cret x=1\n"
    shown = Redaction().shell(text)
    assert "s3cret" not in shown
    directives = list(modprobe.directives("a.conf", shown))
    assert [o.name for o in modprobe.options(directives, "wl")] == ["psk", "x"]
    assert [
        (o.name, o.value) for o in modprobe.options(directives, "vfio_pci")
    ] == [("ids", "10de:1430")]


def test_foreign_scripts_are_a_name_only() -> None:
    redaction = Redaction()
    script = b"#!/bin/sh\nunlock s3cret\n"
    folder = "etc/initramfs-tools/hooks"
    assert redaction.file(f"{folder}/dropbear", script) == b"# REDACTED\n"
    assert redaction.file(f"{folder}/gpu-passthrough", script) == script
    assert redaction.counts[Kind.SCRIPT] == 1


def test_strings_of_a_binary_file() -> None:
    data = b"\0rd.iscsi.password=s3cret\0quiet\0"
    shown = Redaction().file("run/ostree/staged-deployment", data)
    assert shown == b"\0rd.iscsi.password=REDACTED\0quiet\0"


WORDS = st.sampled_from(
    ["rd.iscsi.password=s3cret", "quiet", "ip=10.0.0.7", '"', "'", "#",
     "00:25:90:ab:cd:ef", "X=", "\\", "\n", " ", "--password", "a b",
     "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11", "me:pw@srv", HIDDEN]
)  # fmt: skip


@given(st.lists(WORDS, max_size=12), st.sampled_from(["", " "]))
def test_a_named_secret_never_stays(words: list[str], separator: str) -> None:
    text = separator.join(words)
    for redact in (Redaction.arguments, Redaction.shell):
        assert "s3cret" not in redact(Redaction(), text)


@given(st.lists(WORDS.filter(lambda w: w not in "\"'\\#"), max_size=12))
def test_redacting_again_changes_nothing(words: list[str]) -> None:
    text = " ".join(words)
    for redact in (Redaction.arguments, Redaction.shell):
        shown = redact(Redaction(), text)
        assert redact(Redaction(), shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        'set superusers="r"; password r hunter2',
        'submenu "x" { password_pbkdf2 root hunter2 }',
        "if true; then password root hunter2; fi",
        "password=$(echo hunter2)",
        "password=`echo hunter2`",
        "PASSWORD=a\\ hunter2",
        "passwords=[hunter2, hunter2]",
    ],
)
def test_a_secret_that_a_shell_would_read(text: str) -> None:
    assert "hunter2" not in Redaction().shell(f"{text}\n")
