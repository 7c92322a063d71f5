"""``formats.kernel_cmdline`` against the program that reads it: a kernel.

What a kernel does not know it hands to init: an argument with a value in
its environment, and one without as an argument.  Source: Linux,
init/main.c (unknown_bootoption).
"""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from gpu_passthrough_plugin.formats import kernel_cmdline
from tests.functional.lab.image import Image

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

INIT = r"""
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv)
{
    printf("\nBEGIN\n");
    for (int at = 1; at < argc; at++)
        printf("ARGUMENT <%s>\n", argv[at]);
    for (char **at = environ; *at; at++)
        printf("VARIABLE <%s>\n", *at);
    printf("END\n");
    fflush(stdout);
    reboot(RB_AUTOBOOT);
    return 0;
}
"""
# A word that is not closed takes in all that comes behind it, so that each
# of these is a line, and a boot, of its own.
TABLE = (
    'zza="b c" "zzb=1 2" "zz c" zzd=x"y z"w =zze zz"f"=1 zz-g=1'
    " zzh='i j' zzk= zzl=m=n zzo\tzzp\vzzq\fzzr\rzzs\xa0zzt\xe0zzu"
    ' zzv="w"x zzy="a"b" "zzz"A',
    'zza="x -- y" zzb=1 -- zzc=2 "zzd e" zzf',
    'zza=1 "--" zzb=2',
    'zza=1 zzb="c d zze=1 -- zzf',
)
SEEN = re.compile(r"^(ARGUMENT|VARIABLE) <(.*)>$", re.MULTILINE)
# The kernel keeps no more of each.  Source: Linux, init/main.c.
MOST_OF_A_KIND = 30
OWN = (("VARIABLE", "HOME=/"), ("VARIABLE", "TERM=linux"))
"""What a kernel gives init by itself."""


def generated(seed: int) -> str:
    """Return words that the kernel does not know, made of what matters."""
    draw = random.Random(seed)  # noqa: S311 - a test's words
    pieces = ('"', '" "', "=", "-", "_", ",", "a", "b", "--", "'", "\\", "")
    words = []
    for number in range(MOST_OF_A_KIND):
        word = f"zz{number}x" + "".join(draw.choices(pieces, k=5))
        if draw.random() < 0.2:
            word = '"' + word
        if word.count('"') % 2:
            word += '"'
        words.append(word)
    return " ".join(words)


@pytest.fixture(scope="module")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    source, program = folder / "init.c", folder / "init"
    source.write_text(INIT)
    subprocess.run(
        ["gcc", "-static", "-Os", "-o", str(program), str(source)], check=True
    )
    archive = folder / "initramfs"
    archive.write_bytes(
        member("init", 0o100755, program.read_bytes())
        + member("TRAILER!!!", 0, b"")
    )
    return archive


def member(name: str, mode: int, data: bytes) -> bytes:
    """Return a file of a cpio archive.

    Source: Linux, Documentation/driver-api/early-userspace
    (buffer-format.rst).
    """
    path = name.encode() + b"\0"
    numbers = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, data))


@pytest.mark.parametrize("line", [*TABLE, generated(1)])
def test_what_a_kernel_makes_of_a_line(
    lab_image: Image, initramfs: Path, line: str
) -> None:
    console = subprocess.run(
        [
            *("qemu-system-x86_64", "-M", "q35", "-m", "128", "-no-reboot"),
            *("-display", "none", "-serial", "stdio", "-nic", "none"),
            *("-kernel", lab_image.kernel, "-initrd", initramfs, "-append"),
            f"console=ttyS0 quiet loglevel=0 panic=-1 {line}".encode(
                "latin-1"
            ),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    ).stdout.decode("latin-1")
    _, is_begun, rest = console.replace("\r\n", "\n").partition("BEGIN\n")
    assert is_begun, console
    seen = [tuple(pair) for pair in SEEN.findall(rest.partition("END\n")[0])]
    words = kernel_cmdline.split(line)
    read = kernel_cmdline.kernel_words(words)
    # Those behind ``--`` are init's own.
    inits = [
        ("ARGUMENT", text(kernel_cmdline.parse(word)))
        for word in words[len(read) + 1 :]
    ]
    arguments = kernel_cmdline.arguments(words)
    expected = [
        *(
            ("ARGUMENT", argument.spelling)
            for argument in arguments
            if argument.values is None
        ),
        *inits,
        *(
            ("VARIABLE", text(argument))
            for argument in arguments
            if argument.values is not None
        ),
    ]
    assert [pair for pair in seen if pair not in OWN] == expected


def text(argument: kernel_cmdline.Argument) -> str:
    if argument.values is None:
        return argument.spelling
    return f"{argument.spelling}={','.join(argument.values)}"
