"""The life of one sidecar: what may happen when, as a table, and what is done about it."""
