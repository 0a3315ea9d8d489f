"""The `hotswap` command: it asks the running generation over its control socket and shows the answer."""
