"""Who keeps a driver from letting go of a card: on described hosts."""

from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import device_holders
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model import address, device_holder
from gpu_passthrough_plugin.model.device_holder import OpenFile
from tests.golden import assert_golden, sections
from tests.trees.host import Host

GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")


def node(host: Host, path: str, kind: str, name: str) -> None:
    host.device(path, kind, {}, {}, {"DEVNAME": name})
    host.file(f"sys{path}/uevent", f"MAJOR=1\nDEVNAME={name}\n")


def card(driver: str = "amdgpu", framebuffer: str = "fb1") -> Host:
    """A card with a display and its sound, on drivers of the host."""
    host = Host()
    gpu = host.function("0000:06:00.0", "1002:744c", "030000", driver=driver)
    audio = host.function(
        "0000:06:00.1", "1002:ab30", "040300", driver="snd_hda_intel"
    )
    node(host, f"{gpu}/drm/card1", "drm", "dri/card1")
    node(host, f"{gpu}/drm/renderD129", "drm", "dri/renderD129")
    host.device(f"{gpu}/drm/card1/card1-DP-1/i2c-5", "i2c")
    host.device(f"{gpu}/i2c-3", "i2c")
    host.device(f"{gpu}/graphics/{framebuffer}", "graphics")
    host.device(f"{audio}/sound/card2", "sound")
    node(host, f"{audio}/sound/card2/controlC2", "sound", "snd/controlC2")
    node(host, f"{audio}/sound/card2/pcmC2D3p", "sound", "snd/pcmC2D3p")
    host.folder("sys/class/graphics/fb0")
    host.file("sys/class/vtconsole/vtcon0/name", "(S) VGA+\n")
    host.file("sys/class/vtconsole/vtcon0/bind", "0\n")
    name = "(M) frame buffer device\n"
    host.file("sys/class/vtconsole/vtcon1/name", name)
    host.file("sys/class/vtconsole/vtcon1/bind", "1\n")
    host.file("proc/cmdline", "quiet\n")
    return process(host, 1, "systemd", "/dev/null", "/dev/dri/card0")


def process(host: Host, pid: int, name: str, *files: str) -> Host:
    host.file(f"proc/{pid}/comm", f"{name}\n")
    host.folder(f"proc/{pid}/fd")
    for number, path in enumerate(files):
        host.link(f"proc/{pid}/fd/{number}", path)
    return host


def uses(
    host: Host | RecordedTree, driver: str = "amdgpu"
) -> tuple[device_holder.DeviceUse, ...]:
    tree = host.tree() if isinstance(host, Host) else host
    on = ((GPU, driver), (AUDIO, "snd_hda_intel"))
    return device_holders.read(tree, on, 10)


def unreadable(host: Host, *paths: str) -> RecordedTree:
    tree = host.tree()
    return RecordedTree(
        tree.files,
        tree.links,
        tree.folders,
        unreadable=dict.fromkeys(paths, "Permission denied"),
    )


def reasons(host: Host, driver: str = "amdgpu") -> tuple[str, ...]:
    return device_holder.reasons(uses(host, driver))


def test_a_card_that_nothing_uses() -> None:
    assert reasons(card()) == ()
    assert device_holder.doubts(uses(card())) == ()


def test_sound_servers_are_named() -> None:
    """thesofproject/linux#3196: pipewire kept snd_card_disconnect waiting."""
    host = process(card(), 812, "pipewire", "/dev/snd/controlC2")
    process(host, 815, "wireplumber", "/dev/snd/controlC2")
    process(host, 900, "other", "/dev/snd/controlC0", "/dev/snd/timer")
    gpu, audio = uses(host)
    assert gpu.files == ()
    assert audio.files == (
        OpenFile(812, "pipewire", "/dev/snd/controlC2"),
        OpenFile(815, "wireplumber", "/dev/snd/controlC2"),
    )
    (line,) = reasons(host)
    for datum in ("06:00.1", "pipewire", "812", "815", "/dev/snd/controlC2"):
        assert datum in line


def test_what_a_display_and_its_buses_are_used_by() -> None:
    for path in ("/dev/dri/card1", "/dev/dri/renderD129", "/dev/i2c-3",
                 "/dev/i2c-5"):  # fmt: skip
        (line,) = reasons(process(card(), 77, "Xorg", path))
        assert "Xorg (process 77)" in line and path in line
    assert reasons(process(card(), 77, "Xorg", "/dev/i2c-4")) == ()


def test_nvidia_by_the_minor_of_the_gpu() -> None:
    """kubevirt#8549: kubelet had the GPU open, and unbind never returned."""
    path = "proc/driver/nvidia/gpus/0000:06:00.0/information"
    host = process(card("nvidia"), 40, "kubelet", "/dev/nvidia1")
    host.file(path, "Model: \t X\nDevice Minor: \t 1\n")
    (line,) = reasons(host, "nvidia")
    assert "kubelet (process 40)" in line
    host.file(path, "Model: \t X\nDevice Minor: \t 0\n")
    assert reasons(host, "nvidia") == ()


def test_a_device_file_in_another_dev() -> None:
    """dra-driver-nvidia-gpu#1037: the driver is in a container."""
    node = "/run/nvidia/driver/dev/nvidia1"
    host = process(card("nvidia"), 40, "nvidia-persiste", node)
    path = "proc/driver/nvidia/gpus/0000:06:00.0/information"
    for minor, count in ((1, 1), (0, 0), ("?", 1)):
        host.file(path, f"Device Minor: \t {minor}\n")
        lines = reasons(host, "nvidia")
        assert len(lines) == count
        assert all(node in line for line in lines)


def test_nvidia_of_unknown_minor_is_any() -> None:
    host = process(card("nvidia"), 40, "python3", "/dev/nvidia7")
    assert len(reasons(host, "nvidia")) == 1
    host = process(card("nvidia"), 40, "python3", "/dev/nvidiactl")
    assert reasons(host, "nvidia") == ()


def test_rocm_by_the_node_of_the_gpu() -> None:
    host = process(card(), 50, "rocm-smi", "/dev/kfd")
    assert reasons(host) == ()
    host.file(
        "sys/class/kfd/kfd/topology/nodes/1/properties",
        f"simd_count 304\nlocation_id {6 << 8}\ndomain 0\n",
    )
    (line,) = reasons(host)
    assert "/dev/kfd" in line


def test_the_text_console_is_on_the_first_framebuffer() -> None:
    assert reasons(card(framebuffer="fb1")) == ()
    (line,) = reasons(card(framebuffer="fb0"))
    assert "vtcon1" in line and "vtcon0" not in line
    mapped = card(framebuffer="fb1")
    mapped.file("proc/cmdline", "quiet fbcon=map:1\n")
    assert len(reasons(mapped)) == 1
    mapped.file("sys/class/vtconsole/vtcon1/bind", "0\n")
    assert reasons(mapped) == ()


def test_what_cannot_be_read_is_told() -> None:
    tree = unreadable(card(), "proc/1/fd")
    (line,) = device_holder.doubts(uses(tree))
    assert "process 1" in line and "unknown" in line
    tree = unreadable(process(card(), 9, "x"), "proc/9/fd/0")
    (line,) = device_holder.doubts(uses(tree))
    assert "process 9" in line
    without = Host()
    gpu = without.function("0000:06:00.0", "1002:744c", "030000")
    node(without, f"{gpu}/drm/card1", "drm", "dri/card1")
    assert device_holder.doubts(uses(without)) != ()


def test_golden() -> None:
    host = process(card(framebuffer="fb0"), 812, "pipe\x1bwire",
                   "/dev/snd/controlC2", "/dev/snd/pcmC2D3p")  # fmt: skip
    for pid in range(20, 29):
        process(host, pid, "Xorg", "/dev/dri/card1")
    unread = unreadable(card(), "proc/1/fd", "proc/2/fd")
    text = sections(
        {
            "in use": list(reasons(host)),
            "unknown": list(device_holder.doubts(uses(unread))),
        }
    )
    path = Path(__file__).with_name("device_holders.txt")
    assert_golden(path, text)
