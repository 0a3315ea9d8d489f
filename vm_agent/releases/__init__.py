"""Releases: found, checked, installed whole or not at all, kept for the way back, pruned."""
