"""Bolt, the RPC protocol of SOFABolt, versions 1 and 2: many client connections share few upstream ones.

frame       the layouts, reading a frame's head, the frames the proxy makes itself
headers     the header map of a request
routes      which cluster serves a call
stream      a byte stream cut into frames: what both sides have in common
pool        the connections to one endpoint that all clients share
state       the values: what a connection is in a snapshot
ledger      the record of the calls under way on an upstream connection
messages    the heads of calls and answers as filters see them
client      a client as the upstream side sees it
attended    calls that somebody looks at: filters, the access log, routes with terms of their own
downstream  who connects to us
living      the life of a connection to a server
upstream    whom we connect to
"""
