"""libvirt's driver for tests, an act at a time, with what it cannot do."""

from __future__ import annotations

from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import attachment
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import host_functions
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from tests.functional.acts import URI, Acts, Kernel


class CountedHypervisor(Hypervisor):
    """libvirt's driver for tests, which binds what it manages to vfio-pci."""

    def __init__(self, acts: Acts, kernel: Kernel) -> None:
        super().__init__(URI)
        self._acts = acts
        self._kernel = kernel

    def define(self, xml: str) -> None:
        define = super().define
        self._acts.do("define", lambda: define(xml))

    def undefine(self, uuid: str) -> None:
        undefine = super().undefine
        self._acts.do("undefine", lambda: undefine(uuid))

    def set_autostart(self, uuid: str) -> None:
        set_autostart = super().set_autostart
        self._acts.do("autostart", lambda: set_autostart(uuid))

    def start_defined(self, uuid: str) -> None:
        start_defined = super().start_defined

        def start() -> None:
            start_defined(uuid)
            self._kernel.manage(uuid, self.live_xml(uuid) or "")

        self._acts.do("start", start)

    def start(self, xml: str) -> None:
        start = super().start
        self._acts.do("start", lambda: start(xml))

    def live_xml(self, uuid: str) -> str | None:
        """With what is plugged in and out, which that driver cannot do."""
        xml = super().live_xml(uuid)
        if xml is None:
            return None
        plugged = "".join(self._kernel.plugged.get(uuid, {}).values())
        xml = xml.replace("</devices>", f"{plugged}</devices>")
        domain = domain_xml.parse(xml.encode(), uuid)
        unplugged = self._kernel.unplugged.get(uuid, set())
        return attachment.detached(domain, unplugged, ())

    def plug(self, uuid: str, xml: str) -> None:
        def plug() -> None:
            root = etree.fromstring(f"<a><devices>{xml}</devices></a>")
            (place,) = host_functions(root).addresses
            if ("plug", place) in self._kernel.refuses:
                raise errors.Refused("libvirt did not plug it in: no slot")
            self._kernel.plugged.setdefault(uuid, {})[place] = xml

        self._acts.do("plug", plug)

    def unplug(self, uuid: str, xml: str) -> str:
        def unplug() -> str:
            root = etree.fromstring(f"<a><devices>{xml}</devices></a>")
            (place,) = host_functions(root).addresses
            if ("unplug", place) in self._kernel.refuses:
                return ""
            if self._kernel.plugged.get(uuid, {}).pop(place, None) is None:
                self._kernel.unplugged.setdefault(uuid, set()).add(place)
                self._kernel.return_managed(uuid, {place})
            return ""

        return self._acts.do("unplug", unplug)

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        shut_down = super().shut_down

        def stop() -> bool:
            has_stopped = shut_down(uuid, timeout_s)
            if has_stopped:
                self._kernel.return_managed(uuid)
            return has_stopped

        return self._acts.do("stop", stop)

    def destroy(self, uuid: str) -> None:
        destroy = super().destroy

        def stop() -> None:
            destroy(uuid)
            self._kernel.return_managed(uuid)

        self._acts.do("stop", stop)
