"""Where each boot loader keeps kernel arguments, and what applies them."""
