"""Stage 5: a request and the inventory become an allocation."""
