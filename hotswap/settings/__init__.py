"""Reads YAML files by a table of keys: every problem at once, each with file, line, key and remedy."""
