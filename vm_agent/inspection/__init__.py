"""The patrol: what is not as it should be, each finding with its remedy."""
