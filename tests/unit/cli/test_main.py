"""The quick answers, and what a listing does not import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.discovery import recorded_tree
from tests.trees import software
from tests.trees.host import Host
from tests.trees.seed import seed

# What costs more than a whole listing may.
HEAVY = {"sqlalchemy", "alembic", "tooz", "libvirt", "lxml"}
SEED = ("--recording", recorded_tree.SEED)
# libvirt's binding is compiled: only what acts on guests needs it.
_MAIN = """
import sys
sys.modules["libvirt"] = None
from gpu_passthrough_plugin.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
_LOADED = """
import sys
from gpu_passthrough_plugin.cli.main import main
status = main(sys.argv[1:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(status)
"""


def imported(*argv: str) -> set[str]:
    """Every top-level module that a successful command imported."""
    done = subprocess.run(
        (sys.executable, "-c", _LOADED, *argv),
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "argv",
    [
        ("group", "list"),
        ("group", "show", "18"),
        ("device", "list"),
        ("device", "show", "0000:06:00.0"),
        ("topology",),
    ],
)
def test_a_listing_imports_nothing_heavy(argv: tuple[str, ...]) -> None:
    found = imported("--recording", recorded_tree.SEED, *argv)
    assert found & HEAVY == set()
    # The check itself sees what is imported.
    assert "gpu_passthrough_plugin" in found


def test_a_listing_of_a_host_imports_no_more_than_it_needs(
    tmp_path: Path,
) -> None:
    """Each of these takes as long as listing a small host."""
    root = str(seed().write(tmp_path))
    for words in (("group", "list"), ("device", "list")):
        names = imported("--root", root, *words, "-f", "value")
        assert names & {"dataclasses", "inspect", "hmac", "hashlib"} == set()


_BENCH = """
import sys
from gpu_passthrough_plugin.cli.context import Context
context = Context("/", None, [sys.argv[1]])
context.boot_context
print(*sorted(sys.modules))
"""


def test_what_only_plans_imports_no_lock_and_no_libvirt(
    tmp_path: Path,
) -> None:
    """The lock is made when it is first taken, or asked for."""
    file = tmp_path / "gpu.conf"
    file.write_text(f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}/state\n")
    said = subprocess.run(
        (sys.executable, "-c", _BENCH, str(file)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "gpu_passthrough_plugin.host.boot.journal" in said
    assert {name.partition(".")[0] for name in said} & HEAVY == set()


@pytest.mark.parametrize("word", ["--version", "complete"])
def test_a_quick_answer_imports_no_cliff(word: str) -> None:
    assert imported(word) & {"cliff", "stevedore", "oslo_config"} == set()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out == f"gpu-passthrough {main.version()}\n"
    assert main.version()[0].isdigit()


def test_the_completion_is_current() -> None:
    """``gpu-passthrough complete`` prints a file; this is what it must be.

    To make it anew: tox -e genconfig.
    """
    generated = subprocess.run(
        (sys.executable, "-c", _MAIN, "complete", "--name", "gpu-passthrough"),
        capture_output=True,
        text=True,
        check=True,
    )
    file = Path(main.__file__).parents[1] / "data/gpu-passthrough.bash"
    assert file.read_text() == generated.stdout
    assert (
        "cmds_instance='attach boot detach list release show'"
        in main.completion()
    )


def test_completion_is_bash() -> None:
    subprocess.run(
        ("bash", "-n"), input=main.completion(), text=True, check=True
    )


@pytest.mark.parametrize(
    "words",
    ["--version", "complete", "group list", "device list -f csv", "topology"],
)
def test_a_reader_that_has_enough(words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            (sys.executable, "-c", _MAIN, *SEED, *words.split()),
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words",
    [
        "--version",
        "group list",
        "group show 18",
        "topology",
        "host check -f json",
        "device list -f yaml",
        "host record -",
    ],
)
def test_a_full_disk_is_said_in_one_line(words: str) -> None:
    with open("/dev/full", "wb") as stdout:
        done = subprocess.run(
            (sys.executable, "-c", _MAIN, *SEED, *words.split()),
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        b"gpu-passthrough: cannot write to stdout: No space left on device\n"
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    line = f'"$0" -c "$1" --recording "$2" group list -f value {closed}'
    done = subprocess.run(
        ("sh", "-c", line, sys.executable, _MAIN, recorded_tree.SEED),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) is (">&-" not in closed.replace("2>&-", ""))


def failed(*words: str, stdout: str = "/dev/null") -> str:
    """The only line on stderr of a call that ends with 2."""
    with open(stdout, "wb") as file:
        done = subprocess.run(
            (sys.executable, "-c", _MAIN, *words),
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu-passthrough: ")
    return line


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("nonsense", "see 'gpu-passthrough --help'"),
        ("group", "expected one of: group list, group show"),
        ("group lst", "did you mean 'group list'?"),
        ("grouq list", "did you mean 'group list'?"),
        ("devices list", "did you mean 'device list'?"),
        ("host-check", "did you mean 'host check'?"),
        ("nova_config -o x", "did you mean 'nova config'?"),
        ("host d", "expected one of: host check, host disable"),
        ("hook inst", "did you mean 'hook install'?"),
        ("instance move", "expected one of: instance attach, instance"),
    ],
)
def test_a_command_that_is_none(words: str, advice: str) -> None:
    line = failed(*words.split())
    assert f"{words!r} is not a command; {advice}" in line


@pytest.mark.parametrize(
    "words",
    [
        ("--config-file", ""),
        ("--root", ""),
        ("--recording", ""),
        ("--log-file", ""),
        ("--debug", "group", "shw"),
    ],
)
def test_a_global_option_with_nothing(words: tuple[str, ...]) -> None:
    """As of a shell's variable that is not set."""
    line = failed(*words, *("group", "list") * (len(words) == 2))
    assert "unexpected" not in line
    assert words[0].lstrip("-") in line or "did you mean" in line


@pytest.mark.parametrize(
    ("words", "datum"),
    [
        ("candidate list --request gpu:1 --numa-node 0,1", "'0,1'"),
        ("candidate list --request gpu:1 --numa-node -1", "'-1'"),
        ("candidate list --request gpu:1 --host=", "--host"),
        ("candidate list --request gpu:1 --aggregate=", "--aggregate"),
        ("inventory cordon h --reason=", "--reason"),
        ("unit quarantine h --reason=", "--reason"),
        ("hook release x --patience 5m", "'5m' is not a number of seconds"),
        ("group list -c Group -c Nope", "'Nope' is not a column"),
        ("group list --sort-column Nope", "'Nope' is not a column"),
        ("group show 18 -c Group -c Nope", "'Nope' is not a column"),
    ],
)
def test_an_option_with_a_wrong_value(words: str, datum: str) -> None:
    line = failed(*SEED, *words.split())
    assert datum in line
    assert "invalid" not in line


def test_no_command_is_a_wrong_call() -> None:
    """An empty variable of a shell is one, too; help is what is printed."""
    done = subprocess.run(
        (sys.executable, "-c", _MAIN),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "group list" in done.stdout


def test_a_log_file_that_cannot_be_written() -> None:
    line = failed("--log-file", "/nonexistent/log", *SEED, "topology")
    assert "--log-file /nonexistent/log: No such file" in line


def test_help_on_a_full_disk() -> None:
    line = failed("help", "host", stdout="/dev/full")
    assert "cannot write to stdout: No space left" in line


_COMPLETE = """
unset -f _get_comp_words_by_ref
source /dev/stdin
COMP_WORDS=(gpu-passthrough "$@")
COMP_CWORD=$#
_gpu_passthrough
echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("gro",), "group"),
        (("group", ""), "list show"),
        (("group", "list", "--ass"), "--assignable"),
    ],
)
def test_completion_without_the_package_of_it(
    words: tuple[str, ...], offered: str
) -> None:
    done = subprocess.run(
        ("bash", "--norc", "-c", _COMPLETE, "bash", *words),
        input=main.completion(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == (offered, "")


def test_a_column_that_is_none() -> None:
    line = ("group", "list", "-c", "Nope")
    done = subprocess.run(
        (sys.executable, "-c", _MAIN, *SEED, *line),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "'Nope' is not a column" in done.stderr


@pytest.mark.parametrize("form", ["table", "value", "csv", "json", "yaml"])
def test_names_in_another_encoding(form: str, tmp_path: Path) -> None:
    host = Host()
    nvme = host.function("0000:01:00.0", "144d:a80a", "010802", group=1)
    software.disk(host, f"{nvme}/nvme/nvme0", "nvme0n1", "259:0")
    software.mounts(host, {"/": ("259:0", "/dev/nvme0n1", "ext4")})
    software.swaps(host)
    software.routes(host, [])
    host.write(tmp_path)
    table = tmp_path / "proc/1/mountinfo"
    table.write_bytes(table.read_bytes().replace(b" / / ", b" / /\xff "))
    done = subprocess.run(
        (
            sys.executable, "-c", _MAIN, "--root", str(tmp_path),
            "group", "list", "-f", form,
        ),
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii"},
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"udcff" in done.stdout.lower()


@pytest.mark.parametrize(
    "words", ["group list", "device list -f csv", "topology", "host check"]
)
def test_a_warning_of_a_recording_is_printed_once(
    words: str, tmp_path: Path
) -> None:
    path = tmp_path / "windows"
    content = Path(recorded_tree.SEED).read_bytes()
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    calls = [
        subprocess.run(
            (sys.executable, "-c", _MAIN, "--recording", name, *words.split()),
            capture_output=True,
            text=True,
            check=False,
        )
        for name in (str(path), recorded_tree.SEED)
    ]
    assert calls[0].stdout == calls[1].stdout
    (warning,) = calls[0].stderr.splitlines()
    assert warning.startswith(f"{path} has line ends of Windows")
    assert calls[1].stderr == ""


_README = Path(__file__).parents[3] / "README.md"
_COMMAND = re.compile(r"^    gpu-passthrough (--recording .*)$", re.MULTILINE)


@pytest.mark.parametrize("words", _COMMAND.findall(_README.read_text()))
def test_what_the_readme_says_about_recordings_runs(words: str) -> None:
    done = subprocess.run(
        (sys.executable, "-c", _MAIN, *words.split()),
        capture_output=True,
        text=True,
        cwd=_README.parent,
        check=False,
    )
    assert done.returncode in (0, 1)
    assert done.stdout
    assert not re.search("^gpu-passthrough: ", done.stderr, re.MULTILINE)


def test_the_readme_has_such_commands() -> None:
    assert len(_COMMAND.findall(_README.read_text())) > 3
