"""What the proxy counts: `families` defines it all, `meters` are what listeners, routes, clusters and endpoints keep.

Counters and histograms are counted where things happen, before the bytes that tell of them are written: so never fewer
than clients saw, even if this process is killed. Gauges are set from the true state right before a scrape (`gauges`).
Nothing is counted by a destination before it owns, and what moves in a handover is not counted again.
"""
