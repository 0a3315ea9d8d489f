"""Clusters that heal: endpoints that do not answer get no new streams until they do.

watch.py     what is known of one endpoint: anomalies, ejections, checks
healing.py   the endpoints of a cluster that are used, from all watches together
probe.py     one check of one endpoint
agenda.py    the moments at which something is to be done about it
"""
