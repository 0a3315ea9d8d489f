"""hotswap-agent: looks after the sidecars of one machine. It starts, watches, upgrades and takes back."""
