"""What is wrong with the configuration that an operator gave Nova."""
