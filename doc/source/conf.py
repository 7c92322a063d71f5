"""Sphinx settings; built with -W, so that a broken link fails."""

project = "gpu_passthrough_plugin"
copyright = "the gpu_passthrough_plugin authors"
extensions = ["cliff.sphinxext", "oslo_config.sphinxext"]
autoprogram_cliff_application = "gpu-passthrough"
# What most commands have alike is on the page once.
autoprogram_cliff_ignored = [
    "--help",
    "--format",
    "--column",
    "--max-width",
    "--fit-width",
    "--print-empty",
    "--noindent",
    "--quote",
    "--prefix",
    "--variable",
    "--sort-column",
    "--sort-ascending",
    "--sort-descending",
]
man_pages = [
    (
        "admin/reference",
        "gpu-passthrough",
        "hand whole IOMMU groups of GPUs to virtual machines",
        "",
        8,
    )
]
html_theme = "alabaster"
html_theme_options = {
    "description": "Hands whole IOMMU groups of GPUs to virtual machines",
    "fixed_sidebar": True,
}
html_show_sourcelink = False
nitpicky = True
