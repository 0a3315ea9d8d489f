"""Dubbo, the RPC protocol of Apache Dubbo (``dubbo://``): many client connections share few upstream ones.

frame       the head of a frame, the frames the proxy makes itself
hessian     the part of Hessian 2.0 that it takes to find something behind arguments
body        what the body of a request says: whom it calls, its attachments
patience    how long the caller says that it waits
routes      which cluster serves a call
messages    calls and answers as filters see them
runs        loops over whole runs of calls and answers, in C and in Python
wire        what the code that is shared with other protocols (`proxy.multiplexed`) asks for
downstream  who connects to us
upstream    whom we connect to
"""
