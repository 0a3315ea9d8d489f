"""Replace a network server by its next version while every client stays connected."""

__version__ = "0.1.0"
