"""The host's lock, with real processes and real backends that are dead."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.local_lock import owner
from gpu_passthrough_plugin.host.locks import HostLock
from tests.functional.servers import loopback
from tests.functional.servers.backends import PASSWORD, Redis
from tests.functional.servers.databases import USER, Database

pytest_plugins = ("tests.functional.servers.fixtures",)

HOLD = """
import sys
from gpu_passthrough_plugin.host.locks import HostLock
url, host, folder = sys.argv[1:]
with HostLock(url, host, folder=folder, timeout_s=30, on_wait=print)():
    print("held", flush=True)
    sys.stdin.read()
print("let go", flush=True)
"""


@contextlib.contextmanager
def holding(
    folder: Path, host: str = "node-1"
) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock."""
    arguments = [f"file://{folder}", host, str(folder)]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def taken(
    folder: Path,
    *,
    url: str | None = None,
    host: str = "node-1",
    timeout_s: float = 30,
) -> list[str]:
    """What was said while the lock was waited for."""
    said: list[str] = []
    with HostLock(
        url or f"file://{folder}",
        host,
        folder=str(folder),
        timeout_s=timeout_s,
        on_wait=said.append,
    )():
        pass
    return said


TRY = """
import sys
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.locks import HostLock
url, folder, host, timeout_s = sys.argv[1:]
try:
    with HostLock(
        url, host, folder=folder, timeout_s=float(timeout_s),
        on_wait=lambda line: None,
    )():
        print("held")
except errors.Unavailable as error:
    print(error)
"""


def tried(
    folder: Path,
    *,
    url: str | None = None,
    host: str = "node-1",
    timeout_s: float = 2,
) -> str:
    """What another process says, which ends in time and complains not."""
    arguments = [url or f"file://{folder}", str(folder), host, str(timeout_s)]
    done = subprocess.run(
        [sys.executable, "-c", TRY, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    (line,) = done.stdout.splitlines()
    assert done.stderr == ""
    return line


def refused(folder: Path, timeout_s: float = 2, **how: str) -> str:
    began = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        taken(folder, timeout_s=timeout_s, **how)
    assert time.monotonic() - began < timeout_s + 6
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_free_lock_is_taken_again_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "there"
    assert [taken(folder), taken(folder)] == [[], []]
    assert not list(folder.glob("*.holder*"))


def test_the_second_waits_and_says_for_whom(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        assert other.stdin is not None
        said: list[str] = []

        def waiting(line: str) -> None:
            said.append(line)
            assert other.stdin is not None
            other.stdin.close()

        with HostLock(
            f"file://{tmp_path}",
            "node-1",
            folder=str(tmp_path),
            timeout_s=30,
            on_wait=waiting,
        )():
            note = (tmp_path / "node-1.holder").read_text()
            assert note.split()[0] == str(os.getpid())
        assert other.wait(30) == 0
        # Let go for good, although it was waited for.
        assert tried(tmp_path) == "held"
    (line,) = said
    assert line.startswith(
        f"waiting for the lock of node-1, held by process {other.pid} (python"
    )


def test_another_hosts_lock_is_another(tmp_path: Path) -> None:
    with holding(tmp_path, "node/2"):
        assert taken(tmp_path, host="node-1") == []
        # To connect may take a second on a busy machine.
        assert "not free" in tried(tmp_path, timeout_s=3, host="node/2")
    assert not (tmp_path / "gpu-passthrough-node").exists()


def test_waiting_ends(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        message = tried(tmp_path, timeout_s=2.5)
    assert message.startswith(
        "the lock of node-1 was not free within 2.5 s: held by process"
        f" {other.pid} (python"
    )
    assert message.endswith("; try again when that command has ended")


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait(30)
        note = tmp_path / "node-1.holder"
        assert note.read_text().split()[0] == str(other.pid)
        assert owner(str(note)) == "an unknown process"
        assert taken(tmp_path) == []


def test_what_fails_inside_lets_go(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    with (
        pytest.raises(KeyboardInterrupt),
        HostLock(url, "n", folder=str(tmp_path), timeout_s=5, on_wait=print)(),
    ):
        raise KeyboardInterrupt
    assert taken(tmp_path, host="n") == []


def test_one_at_a_time(tmp_path: Path) -> None:
    """Four processes add to a file without looking, 25 times each."""
    add = """
import sys
from gpu_passthrough_plugin.host.locks import HostLock
url, folder, path = sys.argv[1:]
lock = HostLock(url, "n", folder=folder, timeout_s=60, on_wait=lambda _: 0)
for _ in range(25):
    with lock():
        number = int(open(path).read())
        open(path, "w").write(str(number + 1))
"""
    path = tmp_path / "number"
    path.write_text("0")
    arguments = [f"file://{tmp_path}", str(tmp_path), str(path)]
    processes = [
        subprocess.Popen([sys.executable, "-c", add, *arguments])
        for _ in range(4)
    ]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert path.read_text() == "100"


@pytest.mark.parametrize("is_mute", [False, True])
@pytest.mark.parametrize(
    "scheme", ["redis", "etcd3+http", "zookeeper", "mysql", "postgresql"]
)
def test_a_dead_backend(tmp_path: Path, scheme: str, is_mute: bool) -> None:
    """The whole process ends in time, whatever its client still tries."""
    with loopback.unserved_port(accepts=is_mute) as number:
        url = f"{scheme}://root:s3cret@127.0.0.1:{number}/db"
        message = tried(tmp_path, url=url)
    assert f"the lock backend {scheme}://***@127.0.0.1:{number}/" in message
    assert message.endswith("; see [coordination] backend_url")
    assert "s3cret" not in message


@pytest.mark.parametrize("kind", ["mariadb", "postgresql", "redis_server"])
def test_wrong_credentials(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Database | Redis = request.getfixturevalue(kind)
    is_redis = isinstance(server, Redis)
    right = server.url if isinstance(server, Redis) else server.locks_url()
    assert PASSWORD in right
    for wrong in ("wr0ng", "p/a?ss"):
        message = tried(tmp_path, url=right.replace(PASSWORD, quote(wrong)))
        shown = right.replace(f":{PASSWORD}" if is_redis else USER, "***")
        shown = shown.replace(f":{PASSWORD}", "")
        # Redis's client does not give up in time.
        said = "did not answer, or refused" if is_redis else "does not answer"
        assert message.startswith(f"the lock backend {shown} {said}")
        assert wrong not in message and quote(wrong) not in message
    assert tried(tmp_path, url=right, timeout_s=10) == "held"


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("etcd3+http", "etcd3gw", "etcd"),
        ("redis", "redis", "redis"),
        ("zookeeper", "kazoo", "zookeeper"),
        ("mysql", "pymysql", "mysql"),
        ("postgresql", "psycopg2", "postgresql"),
    ],
)
def test_a_driver_that_is_not_installed(
    tmp_path: Path, scheme: str, module: str, extra: str
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import sys; sys.modules[{module!r}] = None\n{TRY}",
            *(f"{scheme}://u:s3cret@127.0.0.1:1", str(tmp_path), "n", "2"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"the lock backend {scheme}://***@127.0.0.1:1 needs the Python module"
        f" {module}, which is not installed; install"
        f" gpu-passthrough-plugin[{extra}]\n"
    )


def test_a_backend_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for url, found in (
        ("nosuch://127.0.0.1", "No 'tooz.backends' driver found"),
        ("redis://127.0.0.1:x", "Port could not be cast"),
        (f"file://{tmp_path}/file", "file"),
    ):
        message = refused(tmp_path, url=url)
        scheme = url.partition("://")[0]
        assert message.startswith(f"the lock backend {scheme}://")
        assert " does not answer: " in message
        assert found in message


def test_no_secret_is_told(tmp_path: Path) -> None:
    for url in (
        "redis://:cret@127.0.0.1:x",
        "redis://u:pass/cret@127.0.0.1:x",
        "redis://127.0.0.1:x?password=cret",
        "redis://:1/cret:x@127.0.0.1?timeout=cret",
        "file://u:cret@/proc/nowhere",
        "nosuch://:cret@127.0.0.1",
    ):
        assert "cret" not in refused(tmp_path, url=url), url


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refused(tmp_path / "file" / "locks")
    assert message.startswith(f"cannot create {tmp_path}/file/locks ")


def test_a_note_is_a_courtesy(tmp_path: Path) -> None:
    note = tmp_path / "node-1.holder"
    note.mkdir()
    assert taken(tmp_path) == []
