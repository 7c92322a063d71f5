"""``formats.modprobe`` against the program that reads these files: kmod."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import kernel_cmdline, modprobe

MODPROBE = "/sbin/modprobe"
COMPARED = ("blacklist", "install", "options", "remove", "softdep")
NAME_ONLY = ("blacklist", "softdep")
BAD = re.compile(r" line (\d+): ignoring bad line starting with")
BLANKS = re.compile(r"[\t ]+")

TABLE = (
    "options vfio-pci ids=10de:1430,\\\n10de:0fba\n",
    "# comment \\\noptions vfio-pci ids=1111:2222\n",
    "options vfio-pci x=a\\b\n",
    "  \toptions   vfio_pci   disable_vga=1   nointxmask=1  \n",
    'options "vfio-pci" ids=3333:4444\n',
    "blacklist snd-hda-intel # trailing\n",
    "install vfio-pci /sbin/x.sh $CMDLINE_OPTS\n",
    "softdep nouveau pre: vfio-pci\n",
    "vfio-pci ids=1:2\n",
    "Options vfio-pci ids=1:2\n",
    "options vfio-pci\n",
    " # indented\n\t#\n \n",
    "options vfio-pci[ab-c]d-e x=1\n",
    "alias pci:v000010DEd0000*-x vfio-pci\n",
    "options vfio-pci # ids=5555:6666\n",
    "remove vfio-pci /bin/y\n",
    "options vfio-pci ids=9999:0000\r\n",
    "options vfio-pci \\\n   ids=aaaa:bbbb",
    "options vfio-pci ids=1:2 \\",
)
LINES = st.builds(
    "".join,
    st.lists(
        st.sampled_from(
            (
                "options", "blacklist", "softdep", "install", "remove", "opt",
                "vfio-pci", "vfio_pci", "snd[a-b]-c", "ids=10de:1430,1:2",
                '"a b"', "x=1", "#", " ", " ", "\t", "\n", "\n", "\\\n", "\\",
                "\r", "=", ",",
            )
        ),
        max_size=20,
    ),
)  # fmt: skip


Row = tuple[str, str, str]


def read_by_kmod(folder: Path, cmdline: str = "") -> tuple[set[Row], set[int]]:
    """Return what kmod makes of a folder, and the lines that it ignores.

    :param cmdline: shown to it in the place of this machine's.
    """
    shown = folder / "cmdline"
    shown.write_bytes(cmdline.encode("utf-8", "surrogateescape"))
    show = f'{MODPROBE} --showconfig -C "$1"'
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-euc"),
            f'mount --bind "$2" /proc/cmdline; exec {show}',
            *("sh", str(folder), str(shown)),
        ],
        capture_output=True,
        check=True,
    )
    output = done.stdout.decode("utf-8", "surrogateescape")
    lines = output.partition("# End of configuration files")[0].split("\n")
    errors = done.stderr.decode("utf-8", "surrogateescape")
    return (
        {row(line) for line in lines if line.split(" ")[0] in COMPARED},
        {int(match[1]) for match in BAD.finditer(errors)},
    )


def row(line: str) -> Row:
    command, module, rest = (*BLANKS.split(line, maxsplit=2), "", "")[:3]
    rest = " ".join(filter(None, BLANKS.split(rest)))
    # kmod keeps of a softdep what it understands, and no comment behind
    # a name.
    return (command, module, "" if command in NAME_ONLY else rest)


def read_by_us(path: str, text: str) -> tuple[set[Row], set[int]]:
    directives = list(modprobe.directives(path, text))
    return (
        {
            row(f"{d.command} {d.module} {d.rest}")
            for d in directives
            if d.is_valid and d.command in COMPARED
        },
        {d.line for d in directives if not d.is_valid},
    )


@pytest.mark.parametrize("text", TABLE)
def test_a_file(tmp_path: Path, text: str) -> None:
    compare(tmp_path, text)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=LINES)
def test_any_file(tmp_path: Path, text: str) -> None:
    compare(tmp_path, text)


def compare(folder: Path, text: str) -> None:
    # A backslash at the very end becomes a byte 0xff in kmod 30.
    path = folder / "a.conf"
    text = text.removesuffix("\\") + "\n"
    path.write_text(text, newline="")
    assert read_by_us(str(path), text) == read_by_kmod(folder)


def test_which_file_of_a_name_is_read(tmp_path: Path) -> None:
    """kmod takes two folders in the order in which they are given."""
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, names in ((first, "b-B"), (second, "aAbB_")):
        folder.mkdir()
        for name in names:
            path = folder / f"{name}.conf"
            path.write_text(f"options {name}{folder.name} x=1\n")
    done = subprocess.run(
        [MODPROBE, "--showconfig", "-C", str(first), "-C", str(second)],
        capture_output=True,
        check=True,
        text=True,
    )
    folders = (modprobe.FOLDERS[0], modprobe.FOLDERS[2])
    real = {
        f"{folder}/{path.name}": path
        for folder, real_folder in zip(folders, (first, second), strict=True)
        for path in real_folder.iterdir()
    }
    ours = [
        directive.module
        for path in modprobe.read_order(real)
        for directive in modprobe.directives(path, real[path].read_text())
    ]
    shown = [row(line)[1] for line in done.stdout.split("\n")]
    assert [module for module in shown if module in ours] == ours


@pytest.mark.parametrize(
    "line",
    [
        "vfio-pci.ids=10de:1430 quiet",
        "vfio_pci.ids=1,2 vfio-pci.ids=3",
        "vfio-pci-ids=1:2",
        'vfio-pci.ids="1:2,3:4" y',
        'x="a b -- c" vfio-pci.ids=1',
        "a -- vfio-pci.ids=2",
        "vfio-pci.disable_vga",
        'dyndbg="file foo.c vfio-pci.x=1 +p" vfio-pci.ids=5',
        'vfio-pci.ids="unclosed 1 vfio-pci.y=1',
        "vfio-pci.ids= vfio-pci.dyndbg=+p",
        "x=vfio-pci.ids=1",
        "vfio-pci.ids=1\tvfio-pci.b=2\n",
    ],
)
def test_what_the_command_line_gives_a_module(
    tmp_path: Path, line: str
) -> None:
    configured, _ = read_by_kmod(tmp_path, line)
    words = kernel_cmdline.split(line)
    assert {
        (option.name, option.value)
        for option in modprobe.cmdline_options(words, "vfio_pci")
    } == {
        (argument.name, argument.values and ",".join(argument.values))
        for command, module, rest in configured
        if (command, module) == ("options", "vfio_pci")
        for argument in map(kernel_cmdline.parse, kernel_cmdline.split(rest))
    }
