"""Where a peer's logs stay between two runs: one interface, a file for each kind of store."""
