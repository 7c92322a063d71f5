"""Hands whole IOMMU groups of GPUs to virtual machines."""
