"""An emulated GPU host: a real kernel, IOMMU, libvirtd, nested guests."""
