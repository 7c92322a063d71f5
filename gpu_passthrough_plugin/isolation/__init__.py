"""Stage 2: functions become IOMMU groups, each with a verdict."""
