"""Stage 3: facts and groups become a plan of changes to a host."""
