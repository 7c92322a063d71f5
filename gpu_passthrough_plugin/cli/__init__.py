"""The ``gpu-passthrough`` command: one module a noun."""
