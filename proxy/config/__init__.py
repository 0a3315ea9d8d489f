"""Configuration: the model, the file it is read from, its checks, its JSON Schema and its reference."""
