"""AMQP 0-9-1: a relay between clients and brokers that knows frames, channels and consumers.

frame           the layout, and the few methods that are read or made here
runs            numbers that are outstanding
session         what is known of a connection: the values
client_methods  what is learnt from a client,
server_methods  and from a broker
stream          a byte stream cut into frames: what both sides have in common
client          the client's side as those functions see it
quiet           deliveries stopped and resumed
moving          a change of broker; heir, the connection to the next one; login, how it logs in
downstream      who connects to us
upstream        whom we connect to
state           what travels
"""
