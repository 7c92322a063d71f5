"""Write the recordings of the described hosts anew."""

from __future__ import annotations

from gpu_passthrough_plugin.formats import umockdev
from tests.trees import recordings
from tests.trees.debian import debian12
from tests.trees.hosts import HOSTS

if __name__ == "__main__":
    for name, host in {**HOSTS, "debian12": debian12}.items():
        text = umockdev.printed(host().devices())
        recordings.path(name).write_bytes(text)
