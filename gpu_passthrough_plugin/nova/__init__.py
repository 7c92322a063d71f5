"""Generate and check Nova's configuration for IOMMU groups; schedule by it."""
