"""Measurements that people judge; nothing here fails on a timing. Run `make bench`, see `python -m tests.bench -h`."""
