"""Whether connections to endpoints are encrypted, and how a cluster changes over while it is used.

A connection is plaintext or TLS for its whole life, so the change is one of connections (docs/encryption.md):

    does not fit --a successor is dialled--> the old one serves --done--> the successor serves, an old one retires
                                                  ^---failed, again after a pause

wishes          what is wanted of each endpoint, from configuration, orders, announcements, shares and failures
mix             how many of an endpoint's connections are encrypted
measure         holds that against what is wanted
reasons         why TLS could not be had, for people and for metrics
switch          replaces and retires what does not fit
announcements   the files in which endpoints announce what they accept
control         what the control socket shows, and the orders it takes
state           what moves with an upgrade
"""
