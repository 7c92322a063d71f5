"""What listing a large host's groups costs, beside other ways to do it.

Run it from a checkout, with lspci installed::

    python -m benchmarks.groups

Each line is a command beside ``gpu-passthrough group list`` on the same
tree: whole processes, CPU time, interleaved pairs, medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import pairs

# Runs a process a function, each of which scans the whole bus.
_LOOP = """
shopt -s nullglob
for path in "$0"/sys/kernel/iommu_groups/*/devices/*; do
    group=${path#*/iommu_groups/}
    printf 'IOMMU Group %s ' "${group%%/*}"
    lspci -A linux-sysfs -O sysfs.path="$0/sys/bus/pci" -nns "${path##*/}"
done
"""
_BARE = """
import os, sys
base = sys.argv[1] + "/sys/bus/pci/devices/"
groups = {}
for name in os.listdir(base):
    with open(base + name + "/uevent") as file:
        uevent = file.read()
    with open(base + name + "/numa_node") as file:
        node = file.read()
    group = os.readlink(base + name + "/iommu_group")
    groups.setdefault(group, []).append((name, uevent, node))
for group in groups:
    print(group, groups[group])
"""
_READING = """
import sys
from gpu_passthrough_plugin.discovery.functions import functions
from gpu_passthrough_plugin.discovery.host_tree import HostTree
for function in functions(HostTree(sys.argv[1])):
    print(function.iommu_group, function.address)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, nargs="+",
                        default=[1000, 10000])  # fmt: skip
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument(
        "--command",
        default=str(Path(sys.executable).with_name("gpu-passthrough")),
        help="the installed command",
    )
    chosen = parser.parse_args()
    # Not every distribution has it on an ordinary user's path.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if shutil.which("lspci") is None:
        parser.error("lspci is not installed; install pciutils")
    os.environ["PYTHONPATH"] = os.getcwd()
    for count in chosen.functions:
        with tempfile.TemporaryDirectory() as folder:
            # In a process of its own: what this one has ever held counts
            # towards the peak of those that it starts.
            subprocess.run(
                (sys.executable, "-m", "benchmarks.tree", folder, str(count)),
                check=True,
            )
            _measure(chosen.command, folder, count, chosen.pairs)
    return 0


def _measure(command: str, root: str, count: int, repeats: int) -> None:
    ours = [command, "--root", root, "group", "list"]
    peak_mib = 0.0
    print(f"\n{count} functions: group list beside")
    print(f"{'':>24} {'ours ms':>9} {'theirs ms':>10} {'ratio':>8}")
    for name, theirs, times in _rivals(root, count, repeats):
        found = pairs.compare(ours, theirs, times)
        peak_mib = max(peak_mib, found.peak_mib)
        print(
            f"{name:>24} {found.ours_ms:9.1f} {found.theirs_ms:10.1f}"
            f" {found.ratio:8.3f}",
            flush=True,
        )
    print(f"{'peak memory':>24} {peak_mib:9.1f} MiB")


def _rivals(
    root: str, count: int, repeats: int
) -> Iterator[tuple[str, Sequence[str], int]]:
    """Names, commands and how many pairs of each."""
    bus = f"sysfs.path={root}/sys/bus/pci"
    python = sys.executable
    yield "python3 -c pass", [python, "-c", "pass"], repeats
    yield "a bare reader", [python, "-c", _BARE, root], repeats
    yield "discovery alone", [python, "-c", _READING, root], repeats
    lspci = ["lspci", "-Dnnk", "-A", "linux-sysfs", "-O", bus]
    yield "lspci -Dnnk", lspci, repeats
    if count <= 1000:
        yield "the shell loop", ["bash", "-c", _LOOP, root], 1


if __name__ == "__main__":
    sys.exit(main())
