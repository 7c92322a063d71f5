"""No file that is read carries a secret into a recording or report."""

from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import (
    facts,
    host_dependencies,
    record,
    recorded_tree,
)
from gpu_passthrough_plugin.discovery.functions import functions
from gpu_passthrough_plugin.discovery.record import RecordingTree
from gpu_passthrough_plugin.flow import report
from gpu_passthrough_plugin.flow.verification import BootEvidence
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import report_archive
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.change_history import Enablement, Target
from gpu_passthrough_plugin.model.identifiers import Kind
from gpu_passthrough_plugin.model.installation import Reads
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.trees import installed, software
from tests.trees.host import Host
from tests.trees.seed import seed

# What must not leave, in the forms in which files have them.
SECRETS = (
    "s3cret-a", "s3cret-b", "s3cret-c", "s3cret-d", "s3cret-e", "s3cret-f",
    "198.51.100.7", "198.51.100.1", "fd00:7::1", "00:25:90:ab:cd:ef",
    "00-25-90-ab-cd-ef", "gpu-node-07", "43b1cb10c00d48b18061c67e6df40752",
    "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11", "WD-WCC3F1234567",
    "s3cret-g", "s3cret-h", "s3cret-i", "s3cret-j", "s3cret-k", "s3cret-l",
    "janes-disk", "AB12-CD34", "a1b2c3d4-02", "com.example.target",
    "00508b400105e210000900000490000", "babebabebabebabe", "198.51.100.9",
    "fd00:7::2",
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
    " rootpw=s3cret-g db.pwd=s3cret-h PASSWORD+=s3cret-i privkey=s3cret-j"
    " --user bob:s3cret-k userpw=s3cret-l root=LABEL=janes-disk"
    " resume=UUID=AB12-CD34 swap=PARTUUID=a1b2c3d4-02 x=/dev/disk/by-path/"
    "ip-198.51.100.9:3260-iscsi-iqn.2001-05.com.example.target-lun-0"
    " mpath=3600508b400105e210000900000490000 y=/dev/disk/by-label/janes-disk"
    " z=/dev/disk/by-id/ata-WD-WCC3F1234567 dm=0 9 crypt aes-xts-plain64"
    " babebabebabebabebabebabebabebabe 0 talks to fd00:7::2."
)
TEXTS = (
    f"{ARGUMENTS}\n",
    f'GRUB_CMDLINE_LINUX="quiet {ARGUMENTS}"\n',
    f"GRUB_CMDLINE_LINUX='{ARGUMENTS}'\n",
    f"options {ARGUMENTS}\n# {ARGUMENTS}, s3cret-a and so on\n",
    f"options {ARGUMENTS}\nlinux /43b1cb10c00d48b18061c67e6df40752/l\n",
    f"  linux /vmlinuz {ARGUMENTS}\n",
    f"\0{ARGUMENTS}\0quiet\0",
    "password = s3cret-a\npassword: 's3cret-b s3cret-c'\n"
    '{"password": "s3cret-d", "token":"s3cret-e"}\n'
    "password_pbkdf2 root s3cret-f\n",
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
    log = (f"Command line: {ARGUMENTS}", f"iommu: x {ARGUMENTS}")
    boot = known(facts.boot_id(tree)) or ""
    enablement = Enablement(
        (Target(Address(0, 6, 0, 0), 0x10DE, 0x1430, 0x030000, True),),
        "address",
        tuple(word for word in ARGUMENTS.split() if "=" in word),
        boot,
        {"bootloader": f"grub {ARGUMENTS}"},
    )
    evidence = BootEvidence(log, enablement, lambda _, release: (release,))
    path = tmp_path / "report"
    path.write_bytes(report.write(tree, evidence, redaction).content)
    parts = report_archive.read(str(path))
    assert {report_archive.ENABLEMENT, report_archive.LOG} < {*parts}
    for name, data in parts.items():
        leaked = [s for s in SECRETS if s.encode() in data]
        assert leaked == [], name
    reported = report.read(str(path))
    assert reported.evidence.enablement is not None
    assert reported.evidence.enablement.targets == enablement.targets
    assert reported.evidence.enablement.boot_id == (
        known(facts.boot_id(reported.tree)) or ""
    )


def test_the_links_of_a_recording() -> None:
    """A disk's other names lead to the same disk as before."""
    host = Host()
    path = host.function("0000:00:17.0", "8086:a352", "010601")
    bus = f"{path}/ata1/host0/target0:0:0/0:0:0:0/block"
    for number, name in enumerate(("sda", "sdb")):
        software.disk(host, bus, name, f"8:{16 * number}")
        link = f"dev/disk/by-id/ata-WD-WCC3F123456{number}"
        host.link(link, f"../../{name}")
    software.swaps(host)
    software.routes(host, [])
    host.file(
        "proc/1/mountinfo",
        "1 0 8:0 / / rw - xfs /dev/sda"
        " rw,logdev=/dev/disk/by-id/ata-WD-WCC3F1234561\n",
    )
    tree = host.tree()
    recording = record.written(tree, Reads())
    assert b"WCC3F" not in recording
    again = recorded_tree.parse(recording, "again")
    before, after = map(host_dependencies.uses, (tree, again))
    assert not isinstance(before, Unknown)
    assert not isinstance(after, Unknown)
    assert [use[::2] for use in after] == [use[::2] for use in before]
    assert ("sdb",) in {use.via for use in after}


def test_what_is_equal_stays_equal() -> None:
    """An id has the same stand-in in the log and in every file."""
    redaction = Redaction()
    tree = planted(TEXTS[1]).tree()
    recording = record.written(tree, installed.reads(), redaction)
    (line,) = kernel_log.relevant([f"Command line: {ARGUMENTS}"], redaction)
    root = next(w for w in line.split() if w.startswith("root="))
    assert root.encode() in recording
