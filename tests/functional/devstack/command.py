"""``gpu-passthrough`` on a node whose host is recorded.

What may look at a recording is the real command. What changes a host is
played: a mark says that it was enabled, as far as that can be planned, and
the units are published as ``inventory sync`` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from gpu_passthrough_plugin.cli import libvirt_hook, main
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.flow import hook_install, host_snapshot
from gpu_passthrough_plugin.host.files import Files

NODE = Path(os.environ["NODE"])
HOST = NODE / "host.umockdev"
ENABLED = NODE / "enabled"
_PLAN = ("host", "enable", "--dry-run")
_SHARED = "[database]\nconnection = sqlite:///{}\n"


def run(argv: list[str]) -> int:
    """The status of one call, as the plugin makes it."""
    option, conf, *verb = argv
    with (NODE / "calls").open("a") as calls:
        print("gpu-passthrough", *verb, file=calls)
    files = [conf]
    if "[database]" in Path(conf).read_text():
        # DevStack's database server is a file here.
        shared = NODE / "shared.conf"
        shared.write_text(_SHARED.format(NODE.parent / "shared.sqlite"))
        files.append(str(shared))
    real = [word for file in files for word in (option, file)]
    match verb:
        case ["host", "disable", *options]:
            return _disable("--dry-run" in options)
        case ["host", "enable"]:
            ENABLED.touch()
            # One of which all is known that decides how a host boots.
            boots = str(NODE / "boots.umockdev")
            with contextlib.redirect_stdout(sys.stderr):
                return main.main([*real, "--recording", boots, *_PLAN])
        case ["hook", "install", *_]:
            return _install_hook(real)
        case ["hook", *_]:
            return main.main([*real, "--root", str(NODE), *verb])
        case ["db", *_]:
            return main.main([*real, *verb])
        case ["inventory", "sync"]:
            return _publish(files)
    return main.main([*real, "--recording", str(HOST), *verb])


def _disable(is_dry_run: bool) -> int:
    if is_dry_run:
        if ENABLED.exists():
            print("kernel arguments /etc/default/grub change")
    else:
        ENABLED.unlink()
    return 0


def _install_hook(options: list[str]) -> int:
    """As ``hook install``, wherever this Python is installed."""
    files = Files(str(NODE))
    program = script.Program(
        sys.executable, libvirt_hook.__file__, tuple(options)
    )
    change = hook_install.plan_install(files, program, None)
    hook_install.apply(files, change)
    print(change.action)
    return 0


def _publish(files: list[str]) -> int:
    context = Context("/", str(HOST), files)
    host = context.settings.host
    found = host_snapshot.read(context.tree, context.policy).units(host)
    context.ledger.publish(host, found, machine=host)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
