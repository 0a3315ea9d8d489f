"""What a sidecar runs under: systemd, or the agent itself."""
