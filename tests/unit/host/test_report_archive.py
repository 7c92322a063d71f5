from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import report_archive
from tests.trees import installed, seed_logs, software
from tests.trees.hosts import HOSTS
from tests.trees.seed import failed, seed

PARTS = {
    "host.umockdev": b"P: /devices/x\n",
    "kernel.log": "vfio-pci \u2026\n".encode(),
    "enablement.json": b"{}",
    "images.json": b"{}",
}
TITLE = {"format": 1, "parts": list(PARTS)}


def sent(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "host.tar.zst"
    path.write_bytes(data)
    return str(path)


def tarred(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for head, data in members:
            info = tarfile.TarInfo(head) if isinstance(head, str) else head
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def packed(archive: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(archive)


def titled(**fields: object) -> tuple[str, bytes]:
    return "report.json", json.dumps(TITLE | fields).encode()


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(errors.Invalid) as caught:
        report_archive.read(sent(tmp_path, data))
    message = str(caught.value)
    assert "\n" not in message
    assert "is not a complete report" in message
    return message


def test_what_was_written_is_read(tmp_path: Path) -> None:
    data = report_archive.written(PARTS)
    assert report_archive.read(sent(tmp_path, data)) == PARTS
    assert report_archive.written(PARTS) == data
    some = {"kernel.log": b"", "host.umockdev": b"x"}
    assert (
        report_archive.read(sent(tmp_path, report_archive.written(some)))
        == some
    )


def test_other_tools_read_it(tmp_path: Path) -> None:
    data = zstandard.ZstdDecompressor().decompress(
        report_archive.written(PARTS)
    )
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [*PARTS, "report.json"]
        title = archive.extractfile("report.json")
        assert title is not None and json.load(title) == TITLE


def test_a_part_with_another_name_is_refused() -> None:
    with pytest.raises(errors.Invalid, match=r"'\.\./shadow'"):
        report_archive.written({"../shadow": b""})


@pytest.mark.parametrize("name", list(HOSTS))
def test_a_recording_is_the_same_afterwards(tmp_path: Path, name: str) -> None:
    text = installed.recorded(HOSTS[name]().tree())
    data = report_archive.written({"host.umockdev": text})
    found = report_archive.read(sent(tmp_path, data))["host.umockdev"]
    assert found == text


def test_it_names_no_part_of_the_machine(tmp_path: Path) -> None:
    """Read from a host that has such names wherever they may be."""
    mac, serial = "00:25:90:ab:cd:ef", "WD-WCC3F1234567"
    host = seed()
    host.file("sys/class/dmi/id/product_serial", f"{serial}\n")
    nic = software.nic(host, "/devices/pci0000:00/0000:00:01.0", "eno9", 9)
    host.file(f"{nic.lstrip('/')}/address", f"{mac}\n")
    host.file(
        "etc/default/grub",
        f'GRUB_CMDLINE_LINUX="root=/dev/disk/by-id/ata-WDC_{serial} ro'
        f' BOOTIF=01-{mac.replace(":", "-")} intel_iommu=on"\n',
    )
    log = seed_logs.SUCCESS + (
        f"[ 1.0] igb 0000:01:00.0: eth0: (PCIe:5.0Gb/s:Width x4) {mac}\n"
        f"[ 1.1] vfio-pci 0000:06:00.0: Device Serial Number {serial}\n"
        f"[ 1.2] nvme 0000:01:00.0: SerialNumber: {serial}\n"
    )
    parts = {
        "host.umockdev": installed.recorded(host.tree()),
        "kernel.log": log.encode(),
        "enablement.json": json.dumps(
            {"was": mac, "sn": f"SN: {serial}"}
        ).encode(),
    }
    found = report_archive.read(sent(tmp_path, report_archive.written(parts)))
    whole = b"".join(found.values()).lower()
    for secret in (mac, mac.replace(":", "-"), serial):
        assert secret.encode().lower() not in whole
    assert b"intel_iommu=on" in found["host.umockdev"]
    assert (
        b"igb 0000:01:00.0: eth0: (PCIe:5.0Gb/s:Width x4)"
        in (found["kernel.log"])
    )
    assert json.loads(found["enablement.json"])["was"] == "02:00:00:00:00:01"


def test_the_seed_as_a_report(tmp_path: Path) -> None:
    lines = kernel_log.relevant(kernel_log.parsed(seed_logs.FAILURE))
    parts = {
        "host.umockdev": installed.recorded(failed().tree()),
        "kernel.log": "\n".join(lines).encode(),
    }
    found = report_archive.read(sent(tmp_path, report_archive.written(parts)))
    tree = recorded_tree.parse(found["host.umockdev"], "report")
    assert tree.read("etc/modprobe.d/vfio.conf") == (
        b"options vfio-pci ids=10de:1430\n"
    )
    assert kernel_log.parsed(found["kernel.log"].decode()) == lines


def test_one_that_was_cut(tmp_path: Path) -> None:
    data = report_archive.written(PARTS)
    for end in range(len(data)):
        refused(tmp_path, data[:end])
    refused(tmp_path, data + b"\0")


def test_one_whose_archive_was_cut(tmp_path: Path) -> None:
    archive = tarred(*PARTS.items(), titled())
    for end in range(0, 512 * 10, 256):
        refused(tmp_path, packed(archive[:end]))


def test_what_is_no_report(tmp_path: Path) -> None:
    for data in (b"", packed(b""), packed(b"x" * 2000)):
        refused(tmp_path, data)
    for data, kind in (
        (b"x" * 1000, "starts with b'xxx"),
        (b"PK\3\4", "starts with b'PK"),
        (b"P: /devices/a\nE: SUBSYSTEM=b\n\n", "--recording"),
    ):
        with pytest.raises(errors.Invalid, match=kind):
            report_archive.read(sent(tmp_path, data))
    assert "report.json is missing" in refused(
        tmp_path, packed(tarred(("a", b"x")))
    )
    with pytest.raises(errors.ReadFailed, match="cannot be read"):
        report_archive.read(str(tmp_path / "nowhere"))


def test_one_of_another_format(tmp_path: Path) -> None:
    for head, said in (
        (titled(format=2), "format 2"),
        (titled(format=None), "format None"),
        (("report.json", b"[]"), ""),
        (("report.json", b"7"), ""),
        (("report.json", b"{"), ""),
        (("report.json", b"\xff"), ""),
        (("report.json", b"[" * 100_000), ""),
        (titled(parts=7), ""),
        (titled(), "host.umockdev is missing"),
    ):
        assert said in refused(tmp_path, packed(tarred(head)))


def test_what_would_fill_the_memory(tmp_path: Path) -> None:
    huge = zstandard.ZstdCompressor().compress(bytes(300 << 20))
    assert len(huge) < 1 << 20
    assert "33554432 bytes" in refused(tmp_path, huge)
    stream = zstandard.ZstdCompressor().compressobj()
    unsaid = stream.compress(bytes(1000)) + stream.flush()
    assert "decompressed size" in refused(tmp_path, unsaid)


def test_names_lead_nowhere(tmp_path: Path) -> None:
    strangers = [
        (name, b"root::0:0:::\n")
        for name in ("../evil", "/etc/evil", "a/kernel.log", "./kernel.log")
    ]
    data = packed(tarred(*strangers, *PARTS.items(), titled()))
    assert report_archive.read(sent(tmp_path, data)) == PARTS
    assert os.listdir(tmp_path) == ["host.tar.zst"]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_what_is_no_plain_file(tmp_path: Path, kind: bytes) -> None:
    head = tarfile.TarInfo("kernel.log")
    head.type, head.linkname = kind, "/etc/shadow"
    data = packed(tarred((head, b""), titled(parts=[])))
    assert "kernel.log is not" in refused(tmp_path, data)


def test_a_part_that_is_there_twice(tmp_path: Path) -> None:
    twice = tarred(("kernel.log", b"a"), ("kernel.log", b"b"), titled())
    assert "twice" in refused(tmp_path, packed(twice))


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40), 1 << 40])
def test_a_size_that_is_a_lie(tmp_path: Path, size: int) -> None:
    for name in ("kernel.log", "stranger"):
        head = tarfile.TarInfo(name)
        head.size = size
        block = head.tobuf(tarfile.GNU_FORMAT)
        archive = tarred(("images.json", b"{}"))[:1024] + block
        refused(tmp_path, packed(archive + tarred(titled(parts=[]))))
