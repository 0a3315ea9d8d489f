"""Filters: plug-ins that look at connections and requests, and decide about them. See docs/filters.md.

api         what somebody who writes a filter uses: `Filter`, `Request`, `Response` and the verdicts
registry    filters by name: those here, and those of the entry-point group ``hotswap.filters``
chain       the filters of one listener, in order
access, fault, fields, limit, mirror    the built-in ones
"""

from proxy.filters.api import Abort, Answer, Client, Delay, Filter, Request, Response, Settings, Verdict

__all__ = ["Abort", "Answer", "Client", "Delay", "Filter", "Request", "Response", "Settings", "Verdict"]
