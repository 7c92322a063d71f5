"""What an operator reads when something fails on the host."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import ownership, report_archive
from gpu_passthrough_plugin.host.boot.apply import Applier
from gpu_passthrough_plugin.host.boot.image_swap import ImageSwap
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.boot.revert import Reverter
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.host.sandbox_machine import RecordedDevices
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.change import (
    Build,
    Rebuild,
    Restore,
    Write,
)
from gpu_passthrough_plugin.model.change_history import History
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.instance import Instance
from tests.golden import assert_golden, sections
from tests.trees.host import Host
from tests.unit.host.boot.test_journal import DIGEST, HISTORY
from tests.unit.host.test_report_archive import packed, tarred

UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU = address.parse("06:00.0")
Act = Callable[[], object]


def test_golden(tmp_path: Path) -> None:
    texts = {
        **messages(of_files(tmp_path / "files")),
        **messages(of_commands(tmp_path / "commands")),
        **messages(of_devices(tmp_path / "devices")),
        **messages(of_the_boot_journal(tmp_path / "boot")),
        **messages(of_other_documents(tmp_path / "documents")),
        **of_a_plan(tmp_path / "plan"),
    }
    text = sections(texts).replace(str(tmp_path), "TMP")
    assert_golden(Path(__file__).with_name("messages.txt"), text)


def messages(acts: dict[str, Act]) -> dict[str, str]:
    return {name: message(act) for name, act in acts.items()}


def message(act: Act) -> str:
    with pytest.raises(errors.Error) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    return f"{type(caught.value).__name__}: {text}"


def of_files(folder: Path) -> dict[str, Act]:
    (folder / "etc/folder").mkdir(parents=True)
    (folder / "etc/file").write_text("")
    (folder / "etc/a").symlink_to("a")
    files = Files(str(folder))
    return {
        "not a file": lambda: files.read("/etc/folder"),
        "not absolute": lambda: files.read("etc/file"),
        "a circle of links": lambda: files.read("/etc/a"),
        "below a file": lambda: files.put("/etc/file/below", b""),
        "a missing file": lambda: files.move("/etc/none", "/etc/file"),
        "links of an installation": lambda: ownership.path_facts(
            (), str(folder)
        ),
    }


def of_commands(folder: Path) -> dict[str, Act]:
    folder.mkdir()
    (folder / "file").write_text("")
    lines: list[str] = []

    def commands(timeout_s: float = 20, state: str = "state") -> Commands:
        return Commands(
            str(folder / state / "log"),
            str(folder / state / "lock"),
            lines.append,
            timeout_s=timeout_s,
            patience_s=0.01,
        )

    def left_running() -> None:
        run = commands()
        run.run(("/bin/true",), "build the image")
        handle = os.open(folder / "state/lock", os.O_RDWR)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            run.settle()
        finally:
            os.close(handle)
            assert lines
            lines.clear()

    def script(text: str) -> Act:
        return lambda: commands().run(("/bin/sh", "-c", text), "boot menu")

    return {
        "an exit status": script("echo a; echo b >&2; exit 3"),
        "no output": script("exit 1"),
        "a signal": script("kill -9 $$"),
        "a time limit": lambda: commands(0.1).run(
            ("/bin/sleep", "9"), "boot menu"
        ),
        "a missing program": lambda: commands().run(("/no",), "boot menu"),
        "a command left running": left_running,
        "a state folder": lambda: commands(state="file").run(
            ("/bin/true",), "boot menu"
        ),
    }


def of_devices(folder: Path) -> dict[str, Act]:
    host = Host()
    host.function("0000:06:00.0", "10de:1430", "030000", group=18)
    host.write(folder)
    for name in ("drivers_probe", "drivers/vfio-pci/bind"):
        path = folder / "sys/bus/pci" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "dev/vfio/18").mkdir(parents=True)
    calls = FunctionCalls(str(folder / "calls"))
    devices = SysfsDevices(calls, str(folder))
    empty = SysfsDevices(calls, str(folder / "empty"))
    recorded = RecordedDevices({GPU: Binding(None, None)}, {})
    return {
        "modprobe": empty.prepare,
        "a function that is gone": lambda: empty.binding(GPU),
        "a group that is gone": lambda: empty.require_idle(GPU),
        "a bind": lambda: devices.rebind(
            Rebind(GPU, Binding(None, None), VFIO)
        ),
        "a reset": lambda: empty.reset_function(GPU),
        "a group in doubt": lambda: devices.reset_function(GPU),
        "a recorded function that is gone": lambda: recorded.binding(
            address.parse("07:00.0")
        ),
        "a recorded reset": lambda: recorded.reset_function(GPU),
    }


def of_the_boot_journal(folder: Path) -> dict[str, Act]:
    folder.mkdir()
    (folder / "file").write_text("x")
    (folder / "changes.json").write_text('{"format": 2}')
    store = JournalStore(str(folder))
    nowhere = JournalStore(str(folder / "file/below"))
    return {
        "another boot journal": store.read,
        "a boot journal that cannot be read": nowhere.read,
        "a boot journal that cannot be written": lambda: nowhere.write(
            HISTORY
        ),
        "a file that changes": lambda: store.keep_file(
            "0" * 64, str(folder / "file")
        ),
    }


def of_other_documents(folder: Path) -> dict[str, Act]:
    folder.mkdir()
    (folder / f"{UUID}.json").write_text('{"format": 2}')
    (folder / "file").write_bytes(packed(tarred()))
    journal = InstanceJournal(str(folder))
    nowhere = InstanceJournal(str(folder / "file"))
    return {
        "another instance journal": lambda: journal.read(UUID),
        "a name that is not a UUID": lambda: journal.read("notes"),
        "an instance journal that cannot be read": nowhere.instances,
        "an instance journal that cannot be written": lambda: nowhere.write(
            Instance(UUID)
        ),
        "a part of a report": lambda: report_archive.written({"x": b""}),
        "a report that is missing": lambda: report_archive.read(
            str(folder / "none")
        ),
        "an incomplete report": lambda: report_archive.read(
            str(folder / "file")
        ),
    }


def of_a_plan(folder: Path) -> dict[str, str]:
    (folder / "etc").mkdir(parents=True)
    (folder / "bin").mkdir()
    for name, text in (("build", 'echo new >"$1"'), ("list", "echo a.ko")):
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (folder / "etc/x").write_text("edited")
    files = Files(str(folder))
    commands = Commands(
        str(folder / "log"), str(folder / "lock"), print, root=str(folder)
    )
    store = JournalStore(str(folder / "state"))
    lines: list[str] = []
    hands = (files, commands, store, lines.append)
    write = Write("drop-in", "/etc/x", b"planned", b"new")
    image = ImageSwap(files, commands)

    new = f"{folder}/etc/image.gpu-passthrough-new"
    build = Build(
        "image", "/etc/image", "6.1.0", ("/bin/build", new), ("/bin/list",),
        ("vfio",), DIGEST,
    )  # fmt: skip

    def built(size: int) -> Act:
        def act() -> None:
            (folder / "etc/image").write_bytes(bytes(size))
            image.build(build)

        return act

    menu = f"{folder}/etc/menu.gpu-passthrough-new"
    texts = messages(
        {
            "a file edited while applying": lambda: Applier(*hands).apply(
                [write], HISTORY.enablement
            ),
            "a file edited while reverting": lambda: revert(
                hands, Restore("drop-in", "/etc/x", None, None)
            ),
            "a history that another command changed": lambda: Reverter(
                *hands
            ).revert(History(HISTORY.enablement), (), lambda _: None),
            "an image that is too short": built(1000),
            "an image without a module": built(0),
            "a menu without a kernel": lambda: image.menu(
                ("/bin/build", menu), "/etc/menu", "boot menu"
            ),
        }
    )
    lines.clear()
    current = files.entry("/etc/x")
    revert(hands, Restore("drop-in", "/etc/x", None, current, True))
    revert(hands, Rebuild("image", "/etc/image", "6.1.0"))
    return {**texts, "what reverting says": "\n".join(lines)}


def revert(
    hands: tuple[Files, Commands, JournalStore, Callable[[str], None]],
    step: Restore | Rebuild,
) -> None:
    history = History(HISTORY.enablement)
    if isinstance(step, Restore):
        history = History(
            HISTORY.enablement, files={step.path: HISTORY.files["/etc/x"]}
        )
    hands[2].write(history)
    Reverter(*hands).revert(history, (step,), lambda _: None)
