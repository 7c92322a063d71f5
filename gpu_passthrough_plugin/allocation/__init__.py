"""Stage 5: turn a request and the inventory into an allocation."""
