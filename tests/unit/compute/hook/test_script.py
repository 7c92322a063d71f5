"""The hook's script: what passes without Python, and whose it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.formats import domain_xml
from tests.golden import assert_golden
from tests.unit.formats.test_host_devices import HOSTDEV, QEMU, domain

SHELLS = {
    "sh": ("sh",),
    "dash": ("dash",),
    "bash": ("bash", "--posix"),
    "busybox": ("busybox", "sh"),
}
START = ("prepare", "begin")
# Prints what it is given, and to whom; fails when it is told to.
PYTHON = """\
#!/bin/sh
printf '%s\\n' "$@" >"${0%/*}/arguments"
cat >"${0%/*}/input"
[ ! -e "${0%/*}/fails" ]
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    argv = SHELLS[str(request.param)]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    return argv


class Installed:
    """The script in a folder, with a Python of its own.

    What it says to the system's log is in ``log``.
    """

    def __init__(self, folder: Path, shell: tuple[str, ...]) -> None:
        self.folder = folder / "it's here"
        self.folder.mkdir()
        self._shell = shell
        self.python = self.folder / "python3"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        self.entry = self.folder / "entry.py"
        self.entry.touch()
        self.log = self.folder / "log"
        logger = f"#!/bin/sh\necho \"$@\" >>'{self._quoted(self.log)}'\n"
        (self.folder / "logger").write_text(logger)
        (self.folder / "logger").chmod(0o755)
        program = script.Program(
            str(self.python), str(self.entry), ("--config-file", "/etc/a b")
        )
        text = script.script(program).decode()
        # Of the system's own folders the test must not write to the log.
        path = f"PATH='{self._quoted(self.folder)}':/usr/bin:/bin"
        self.program = self.folder / "hook"
        self.program.write_text(
            text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", path)
        )

    @staticmethod
    def _quoted(path: Path) -> str:
        return str(path).replace("'", "'\\''")

    def call(
        self, text: str | bytes, *step: str
    ) -> subprocess.CompletedProcess[bytes]:
        raw = text.encode() if isinstance(text, str) else text
        done = subprocess.run(
            (*self._shell, str(self.program), "g", *(step or START), "-"),
            input=raw,
            capture_output=True,
            env={"PATH": os.defpath},
            timeout=60,
        )
        assert done.stdout == b""
        return done

    def given(self) -> bytes | None:
        """What Python was given; None when it was not called."""
        path = self.folder / "input"
        return path.read_bytes() if path.exists() else None


@pytest.fixture
def installed(tmp_path: Path, shell: tuple[str, ...]) -> Installed:
    return Installed(tmp_path, shell)


PLAIN = [
    domain(""),
    domain("<disk type='file'><source file='/dev/nvme0n1'/></disk>"),
    domain("", rest="<title>Müller &amp; Söhne &lt;\\n%s`$(id)</title>"),
    domain("", rest="<a b='&quot;'/>" * 2000),
    "<domain><name>a</name></domain>",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_passes_without_python(installed: Installed, text: str) -> None:
    for step in (START, ("release", "end"), ("reconnect", "begin")):
        done = installed.call(text, *step)
        assert (done.returncode, done.stderr) == (0, b"")
    assert installed.given() is None


ALL_BYTES = bytes(range(1, 256)).replace(b"\n", b"\n\n")
DOUBTFUL = [
    domain().encode(),
    domain("<disk type='nvme'/>").encode(),
    domain('<disk type="nvme"/>').encode(),
    domain("<disk type='&#110;vme'/>").encode(),
    domain("", rest=f"<q:commandline xmlns:q='{QEMU}'/>").encode(),
    f"<!DOCTYPE domain []>{domain('')}".encode(),
    domain("", rest="<![CDATA[ ]]>").encode(),
    domain("<new><source><address type='pci'/></source></new>").encode(),
    domain("").encode("utf-16-le").replace(b"\0", b"\1"),
    f"<?xml version='1.0' encoding='cp037'?>{domain('')}".encode("cp037"),
    b"",
    b"\n<domain/>",
    b"<domains/>",
    b"<domain" + ALL_BYTES,
    domain(rest=f"<a>{'x' * 300_000}</a>").encode() + b"\n\n\n",
]


@pytest.mark.parametrize("text", DOUBTFUL)
def test_what_python_looks_at_reaches_it_whole(
    installed: Installed, text: bytes
) -> None:
    done = installed.call(text)
    assert (done.returncode, done.stderr) == (0, b"")
    # A here-document ends with a line's end.
    assert installed.given() == text + b"\n"
    arguments = (installed.folder / "arguments").read_text().splitlines()
    assert arguments == [
        *("-I", "-m", script.MODULE, "--config-file", "/etc/a b"),
        *("--", "g", "prepare", "begin", "-"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        domain("").encode() + b"\0",
        domain("", rest="<a>\0</a>").encode(),
        domain("").encode("utf-16"),
        domain("").encode("utf-32-be"),
    ],
)
def test_zeros_are_not_lost(installed: Installed, text: bytes) -> None:
    """A shell's variable has none; no XML has what becomes of them."""
    assert installed.call(text).returncode == 0
    assert installed.given() == text.replace(b"\0", b"\1") + b"\n"


def test_a_document_that_is_too_long_is_pythons(installed: Installed) -> None:
    text = domain("", rest=f"<a>{'x' * domain_xml.MAX_BYTES}</a>")
    assert installed.call(text).returncode == 0
    assert installed.given() == text.encode() + b"\n"


def test_other_steps_are_not_looked_at(installed: Installed) -> None:
    for step in (("started", "begin"), ("migrate", "begin"), ("prepare", "")):
        assert installed.call(domain(), *step).returncode == 0
    assert installed.given() is None


def test_only_a_start_is_refused(installed: Installed) -> None:
    (installed.folder / "fails").touch()
    assert installed.call(domain()).returncode == 1
    assert not installed.log.exists()
    for step in (("release", "end"), ("reconnect", "begin")):
        done = installed.call(domain(), *step)
        assert (done.returncode, done.stderr) == (0, b"")
        assert installed.given() == domain().encode() + b"\n"
    assert [line.count("status 1") for line in lines(installed.log)] == [1, 1]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("gone", ["python", "entry"])
def test_without_the_product_no_function_goes_to_a_guest(
    installed: Installed, gone: str
) -> None:
    path: Path = getattr(installed, gone)
    path.unlink()
    done = installed.call(domain())
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    for datum in (b"domain g", str(path).encode(), b"hook install"):
        assert datum in done.stderr
    assert not installed.log.exists()
    for step in (("release", "end"), ("reconnect", "begin")):
        done = installed.call(domain(), *step)
        assert (done.returncode, done.stderr) == (0, b"")
    assert len(lines(installed.log)) == 2
    assert installed.call(domain("")).returncode == 0


def others_can(installed: Installed) -> bytes:
    """Why a start is refused; nothing was run."""
    done = installed.call(domain())
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"hook install" in done.stderr
    assert installed.given() is None
    assert installed.call(domain("")).returncode == 0
    assert installed.call(domain(), "release", "end").returncode == 0
    return done.stderr


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("python3", 0o757),
        ("entry.py", 0o666),
        ("inner/module.py", 0o646),
        ("inner", 0o777),
        ("inner", 0o1777),
        (".", 0o777),
        ("..", 0o777),
    ],
)
def test_what_others_can_write_to_is_not_run(
    installed: Installed, name: str, mode: int
) -> None:
    (installed.folder / "inner").mkdir()
    (installed.folder / "inner/module.py").touch()
    path = (installed.folder / name).resolve()
    before = path.stat().st_mode
    path.chmod(mode)
    assert str(path).encode() in others_can(installed)
    path.chmod(before)
    assert installed.call(domain()).returncode == 0
    assert installed.given()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
@pytest.mark.parametrize("name", ["python3", "entry.py", "inner", "link"])
def test_what_is_anothers_is_not_run(installed: Installed, name: str) -> None:
    """Nor what a link of another's leads to."""
    (installed.folder / "inner").mkdir()
    installed.python.rename(installed.folder / "link")
    installed.python.symlink_to("link")
    assert installed.call(domain()).returncode == 0
    (installed.folder / "input").unlink()
    path = installed.folder / name
    os.chown(path, 65534, 0, follow_symlinks=False)
    assert name.encode() in others_can(installed)
    os.chown(path, 0, 65534, follow_symlinks=False)
    assert installed.call(domain()).returncode == 0
    if name != "python3":
        (installed.folder / "input").unlink()
        path.chmod(0o775)
        assert name.encode() in others_can(installed)


def written(*types: str, devices: str = "") -> str:
    """A domain as libvirt writes it, with host devices of these types."""
    hostdevs = "".join(
        f"    <hostdev mode='subsystem' type='{kind}' managed='no'>\n"
        "      <source>\n        <address bus='1' device='2'/>\n"
        f"      </source>\n      <alias name='hostdev{number}'/>\n"
        "    </hostdev>\n"
        for number, kind in enumerate(types)
    )
    return (
        "<domain type='kvm'>\n  <name>g</name>\n  <devices>\n"
        f"{hostdevs}{devices}  </devices>\n</domain>\n"
    )


@pytest.mark.parametrize(
    "types", [("usb",), ("usb", "scsi", "mdev", "scsi_host")]
)
def test_without_the_product_other_host_devices_go_to_a_guest(
    installed: Installed, types: tuple[str, ...]
) -> None:
    installed.python.unlink()
    done = installed.call(written(*types))
    assert (done.returncode, done.stderr) == (0, b"")
    done = installed.call(written(*types), "release", "end")
    assert (done.returncode, installed.log.exists()) == (0, False)


UNCLOSED = "    <hostdev mode='subsystem' type='usb'>\n"


@pytest.mark.parametrize(
    "text",
    [
        written("pci"),
        written("usb", "pci", "usb"),
        written("unknown"),
        written("usb", devices="<disk type='nvme'/>"),
        written("usb", devices="<hostdev type='usb'/>"),
        written(devices=UNCLOSED) + written("pci"),
        written("usb").replace("</hostdev>\n", "</hostdev><hostdev/>\n"),
        written("usb")[:-30],
    ],
)
def test_without_the_product_doubt_refuses(
    installed: Installed, text: str
) -> None:
    installed.python.unlink()
    assert installed.call(text).returncode == 1


def test_the_process_is_python_itself(installed: Installed) -> None:
    """Who kills the hook of a start kills what it does."""
    installed.python.write_text(f"#!/bin/sh\necho $$ >{'pid'}\n")
    with subprocess.Popen(
        (*installed._shell, str(installed.program), "g", *START, "-"),
        stdin=subprocess.PIPE,
        cwd=installed.folder,
    ) as process:
        process.communicate(domain().encode())
    assert (installed.folder / "pid").read_text() == f"{process.pid}\n"


PROGRAM = script.Program(
    "/opt/gpu-passthrough/bin/python3",
    "/opt/gpu-passthrough/lib/entry.py",
    ("--config-file", "/etc/a.conf"),
)


def test_shellcheck(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    path = tmp_path / "hook"
    path.write_bytes(script.script(PROGRAM))
    done = subprocess.run(
        ("shellcheck", str(path)), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_script_and_its_messages() -> None:
    text = script.script(PROGRAM).decode()
    assert_golden(Path(__file__).with_name("script.txt"), text)


def test_ours_is_told_from_others_and_from_what_was_edited() -> None:
    text = script.script(PROGRAM)
    assert script.is_ours(text)
    assert not script.is_ours(text + b"\n")
    assert not script.is_ours(text.replace(b"prepare", b"started"))
    for other in (b"", b"#!/bin/sh\nexit 0\n", b"\n\n\n", text[:80]):
        assert not script.is_ours(other)


def test_every_word_of_a_function_is_looked_for() -> None:
    text = script.script(PROGRAM).decode()
    for word in ("hostdev", "'nvme'", '"nvme"', "vfio", QEMU[7:]):
        assert word in text
    assert "hostdev" in HOSTDEV


def test_what_runs_is_there() -> None:
    """The module's name, as Python knows it."""
    done = subprocess.run(
        (sys.executable, "-c", f"import {script.MODULE}"), cwd=Path.cwd()
    )
    assert done.returncode == 0
