"""Endpoints by name: a small stub resolver, and what becomes of its answers.

message.py    DNS messages, bytes <-> values
query.py      one question to several servers, as a table
system.py     /etc/resolv.conf and /etc/hosts, text -> values
lookup.py     one name: the search list, both address families
names.py      all names of a configuration: answers, when to ask again; a value that moves
asker.py      the sockets, in the control plane's loop
"""
