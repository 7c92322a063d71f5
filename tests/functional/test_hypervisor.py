"""libvirt itself, through its own driver for tests."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.hypervisor import Hypervisor

# Each opening of this shares one host of guests, as long as one is open.
URI = "test:///default"
UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
# libvirt's own guest there, which runs from the beginning.
RUNNING = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def document(uuid: str = UUID, name: str = "guest") -> str:
    return (
        f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid>"
        "<memory>1024</memory><os><type>hvm</type></os></domain>"
    )


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    with Hypervisor(URI) as opened:
        yield opened
        opened.destroy(UUID)


def test_a_guests_life(hypervisor: Hypervisor) -> None:
    assert hypervisor.live_xml(UUID) is None
    assert hypervisor.named("guest") is None
    hypervisor.start(document())
    xml = hypervisor.live_xml(UUID)
    assert xml is not None
    assert f"<uuid>{UUID}</uuid>" in xml
    assert hypervisor.named("guest") == (UUID, False)
    hypervisor.destroy(UUID)
    assert hypervisor.live_xml(UUID) is None
    assert hypervisor.named("guest") is None
    hypervisor.destroy(UUID)


def test_a_guest_that_is_asked_to_go(hypervisor: Hypervisor) -> None:
    assert hypervisor.shut_down(UUID, 0)
    hypervisor.start(document())
    assert hypervisor.shut_down(UUID, 5)
    assert hypervisor.live_xml(UUID) is None


class Deaf(Hypervisor):
    """One whose guest does not listen, or goes while it is asked."""

    refuses = False

    def _ask_to_go(self, domain: object) -> None:
        if self.refuses:
            super()._ask_to_go(NoAcpi())


class NoAcpi:
    def shutdown(self) -> None:
        import libvirt

        raise libvirt.libvirtError("no ACPI")


def test_a_guest_that_does_not_go() -> None:
    with Deaf(URI) as hypervisor:
        hypervisor.start(document())
        began = time.monotonic()
        assert not hypervisor.shut_down(UUID, 0.5)
        assert 0.5 <= time.monotonic() - began < 5
        assert hypervisor.live_xml(UUID) is not None
        hypervisor.destroy(UUID)


def test_a_guest_that_cannot_be_asked_is_not_waited_for() -> None:
    with Deaf(URI) as hypervisor:
        hypervisor.refuses = True
        hypervisor.start(document())
        began = time.monotonic()
        assert not hypervisor.shut_down(UUID, 60)
        assert time.monotonic() - began < 5
        hypervisor.destroy(UUID)


def test_a_guest_that_goes_by_itself_meanwhile() -> None:
    with Deaf(URI) as hypervisor:
        hypervisor.start(document())
        timer = threading.Timer(0.3, hypervisor.destroy, [UUID])
        timer.start()
        assert hypervisor.shut_down(UUID, 30)
        timer.join()


def test_what_is_defined_no_more(hypervisor: Hypervisor) -> None:
    hypervisor.undefine(UUID)
    hypervisor.define(document())
    domain = hypervisor._connection.lookupByUUIDString(UUID)
    snapshot = domain.snapshotCreateXML("<domainsnapshot/>")
    with pytest.raises(errors.Refused, match="snapshot"):
        hypervisor.undefine(UUID)
    assert hypervisor.domain(UUID) is not None
    snapshot.delete()
    hypervisor.undefine(UUID)
    assert hypervisor.domain(UUID) is None


class StatefulDomain:
    """One of libvirt's driver for QEMU, which knows every flag."""

    def __init__(self) -> None:
        self.undefined: list[int] = []

    def lookupByUUIDString(self, _uuid: str) -> StatefulDomain:
        return self

    def undefineFlags(self, flags: int) -> None:
        self.undefined.append(flags)


def test_the_state_of_what_is_defined_no_more(hypervisor: Hypervisor) -> None:
    import libvirt

    connection, domain = hypervisor._connection, StatefulDomain()
    hypervisor._connection = domain
    hypervisor.undefine(UUID)
    hypervisor._connection = connection
    (flags,) = domain.undefined
    assert flags & libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    assert flags & libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM


def test_what_libvirt_does_not_start(hypervisor: Hypervisor) -> None:
    for xml, found in (
        ("<domain/>", "name"),
        ("<domain type='test'><name>a</name></domain>", "os"),
        (document("x"), "uuid"),
        (document(RUNNING), RUNNING),
    ):
        with pytest.raises(errors.Refused) as caught:
            hypervisor.start(xml)
        message = str(caught.value)
        assert message.startswith("libvirt did not start the guest: ")
        assert found.lower() in message.lower()
    hypervisor.start(document())
    with pytest.raises(errors.Refused, match="already"):
        hypervisor.start(document("0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"))


def test_a_guest_that_is_defined_and_does_not_run(
    hypervisor: Hypervisor,
) -> None:
    assert hypervisor.named("test") == (RUNNING, False)
    assert hypervisor.live_xml(RUNNING) is not None
    hypervisor.destroy(RUNNING)
    try:
        assert hypervisor.named("test") == (RUNNING, False)
        assert hypervisor.live_xml(RUNNING) is None
        assert hypervisor.shut_down(RUNNING, 1)
    finally:
        hypervisor._connection.lookupByName("test").create()


def test_no_libvirt(capfd: pytest.CaptureFixture[str]) -> None:
    for uri in (
        "qemu+unix:///system?socket=/nonexistent/libvirt.sock",
        "nosuch:///system",
        "%",
    ):
        with pytest.raises(errors.Unavailable) as caught:
            Hypervisor(uri)
        message = str(caught.value)
        assert message.startswith(f"libvirt does not answer at {uri}: ")
        assert len(message.splitlines()) == 1
        assert message.endswith("([libvirt] connection_uri)")
    assert capfd.readouterr() == ("", "")


def test_libvirt_itself_prints_nothing() -> None:
    """In a process of its own: the first error would be printed."""
    script = (
        "from gpu_passthrough_plugin import errors\n"
        "from gpu_passthrough_plugin.host.hypervisor import Hypervisor\n"
        "try: Hypervisor('nosuch:///system')\n"
        "except errors.Unavailable: pass\n"
        f"with Hypervisor({URI!r}) as h:\n"
        "    try: h.start('<domain/>')\n"
        "    except errors.Refused: pass\n"
        f"    assert h.live_xml({UUID!r}) is None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_connection_that_broke(hypervisor: Hypervisor) -> None:
    broken = Hypervisor(URI)
    broken._connection.close()
    for act in (
        lambda: broken.live_xml(UUID),
        lambda: broken.destroy(UUID),
        lambda: broken.named("guest"),
        lambda: broken.shut_down(UUID, 1),
    ):
        with pytest.raises(errors.Unavailable, match=f"libvirt at {URI}: "):
            act()
