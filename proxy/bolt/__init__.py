"""Bolt, the RPC protocol of SOFABolt, versions 1 and 2: many client connections share few upstream ones.

frame       the layouts, reading a frame's head, the frames the proxy makes itself
headers     the header map of a request
routes      which cluster serves a call
messages    the heads of calls and answers as filters see them
runs        loops over whole runs of calls and answers, in C and in Python
wire        what the code that is shared with other protocols (`proxy.multiplexed`) asks for
downstream  who connects to us
upstream    whom we connect to
"""
