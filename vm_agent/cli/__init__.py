"""The command `hotswap-agent`."""
