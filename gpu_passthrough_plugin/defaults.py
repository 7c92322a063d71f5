"""Defaults that apply where no configuration file sets an option.

Apart from ``conf``, so that a listing on a host without a file need not
import oslo.config.
"""

CONFIG_FILE = "/etc/gpu-passthrough/gpu-passthrough.conf"
SELECT = ("class=03*", "class=12*")
EXCLUDE: tuple[str, ...] = ()
STATE_PATH = "/var/lib/gpu-passthrough"
PCI_IDS = "/usr/share/misc/pci.ids"
