"""How functions get to vfio-pci: by their addresses, or by their ids."""
