"""Tests mirror the parts; tests.kit is the test toolkit; tests.bench the benchmarks."""
