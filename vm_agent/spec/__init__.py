"""What is wanted: one file for each sidecar, and the settings of the agent."""
