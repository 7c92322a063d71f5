"""The ``sql`` driver: the ledger in a relational database."""
