"""No file that is read carries a secret into a recording or report."""

from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import record, recorded_tree
from gpu_passthrough_plugin.discovery.functions import functions
from gpu_passthrough_plugin.discovery.record import RecordingTree
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import report_archive
from gpu_passthrough_plugin.model.identifiers import Kind
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.trees import installed
from tests.trees.host import Host
from tests.trees.seed import seed

# What must not leave, in the forms in which files have them.
SECRETS = (
    "s3cret-a", "s3cret-b", "s3cret-c", "s3cret-d", "s3cret-e", "s3cret-f",
    "198.51.100.7", "198.51.100.1", "fd00:7::1", "00:25:90:ab:cd:ef",
    "00-25-90-ab-cd-ef", "gpu-node-07", "43b1cb10c00d48b18061c67e6df40752",
    "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11", "WD-WCC3F1234567",
)  # fmt: skip
ARGUMENTS = (
    "rd.iscsi.password=s3cret-a netroot=iscsi:me:s3cret-b@198.51.100.7::3260"
    " systemd.set_credential=db:s3cret-c ip=198.51.100.7::198.51.100.1:"
    "255.255.255.0:gpu-node-07:eth0:none nameserver=fd00:7::1"
    " BOOTIF=01-00-25-90-ab-cd-ef ifname=eth0:00:25:90:ab:cd:ef"
    " cifsroot=//srv/x,username=u,password=s3cret-d"
    " repo=https://u:s3cret-e@gpu-node-07/x rd.luks.key=/s3cret-f"
    " root=UUID=5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
    " mid=43b1cb10c00d48b18061c67e6df40752 S/N WD-WCC3F1234567"
)
TEXTS = (
    f"{ARGUMENTS}\n",
    f'GRUB_CMDLINE_LINUX="quiet {ARGUMENTS}"\n',
    f"GRUB_CMDLINE_LINUX='{ARGUMENTS}'\n",
    f"options {ARGUMENTS}\n# {ARGUMENTS}, s3cret-a and so on\n",
    f"options {ARGUMENTS}\nlinux /43b1cb10c00d48b18061c67e6df40752/l\n",
    f"  linux /vmlinuz {ARGUMENTS}\n",
    f"\0{ARGUMENTS}\0quiet\0",
)


def planted(text: str) -> Host:
    """Return the seed's host with ``text`` in every file that is read."""
    host = seed()
    reads = installed.reads()
    paths = [path.replace("*", "debian") for path in reads.files]
    paths += [
        f"{folder.path}/43b1cb10c00d48b18061c67e6df40752-x{suffix}"
        for folder in reads.folders
        for suffix in folder.suffixes
    ]
    for path in paths:
        # Comments in this product's own files are its own.
        is_own = "gpu-passthrough" in path
        host.file(path[1:], text.partition("#")[0] if is_own else text)
    host.file("etc/hostname", "gpu-node-07\n")
    host.file("proc/cmdline", TEXTS[0])
    host.file("proc/cpuinfo", TEXTS[0])
    host.file(
        "proc/1/mountinfo",
        "1 0 0:30 / / rw - nfs4 srv:/s3cret-a rw,addr=198.51.100.7\n"
        "2 1 8:1 / /boot rw,x=s3cret-b - ext4 /dev/sda1 rw,s3cret-c\n",
    )
    return host


def test_every_file_that_is_read() -> None:
    for text in TEXTS:
        tree = planted(text).tree()
        seen = RecordingTree(tree)
        record.written(seen, installed.reads())
        carriers = [
            path for path, data in seen.files.items() if b"s3cret" in data
        ]
        assert len(carriers) > 20
        redaction = Redaction()
        recording = record.written(tree, installed.reads(), redaction)
        leaked = [s for s in SECRETS if s.encode() in recording]
        assert leaked == []
        assert redaction.counts[Kind.CREDENTIAL] > 20
        again = recorded_tree.parse(recording, "again")
        assert functions(again) == functions(tree)
        arguments = again.read("proc/cmdline")
        assert not isinstance(arguments, bytes) or (
            b"rd.iscsi.password=REDACTED" in arguments
        )


def test_the_whole_report(tmp_path: Path) -> None:
    tree = planted(TEXTS[0]).tree()
    redaction = Redaction()
    log = [f"Command line: {ARGUMENTS}", f"iommu: x {ARGUMENTS}"]
    parts = {
        report_archive.RECORDING: record.written(
            tree, installed.reads(), redaction
        ),
        report_archive.LOG: "\n".join(
            kernel_log.relevant(log, redaction)
        ).encode(),
    }
    path = tmp_path / "report"
    path.write_bytes(report_archive.written(parts, redaction))
    for name, data in report_archive.read(str(path)).items():
        leaked = [s for s in SECRETS if s.encode() in data]
        assert leaked == [], name


def test_what_is_equal_stays_equal() -> None:
    """An id has the same stand-in in the log and in every file."""
    redaction = Redaction()
    tree = planted(TEXTS[1]).tree()
    recording = record.written(tree, installed.reads(), redaction)
    (line,) = kernel_log.relevant([f"Command line: {ARGUMENTS}"], redaction)
    root = next(w for w in line.split() if w.startswith("root="))
    assert root.encode() in recording
