"""Sphinx settings; built with -W, so that a broken link fails."""

project = "gpu_passthrough_plugin"
copyright = "the gpu_passthrough_plugin authors"
extensions = ["oslo_config.sphinxext"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Hands whole IOMMU groups of GPUs to virtual machines",
    "fixed_sidebar": True,
}
html_show_sourcelink = False
nitpicky = True
