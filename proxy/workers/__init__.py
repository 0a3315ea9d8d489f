"""`workers: N`: the data plane of one generation in more than one process.

    crew.py     the generation's own process: worker 0, and the whole control plane; a `hotswap.Swappable`
    hand.py     one of the others, as the crew sees it
    line.py     what they speak over; words.py what they say
    duty.py     the other end: a worker's process
    giving.py   how it gives its connections to the crew in a handover
    lodger.py   its metrics: a slot in the segment of the generation

See "Workers" in ARCHITECTURE.md for why it is made so.
"""
