"""What protocols have in common that carry many calls on one connection, each with an id (bolt, Dubbo).

    wire         what such a protocol has of its own: heads of frames, statuses, how an id is patched
    stream       a stream cut into frames; pieces, what outboxes take of it
    client, attended, downstream     a client's side: calls on their way, those that are looked at, the rest of its life
    ledger, living, upstream         an endpoint's side: the record of calls, the life of a connection that all share
    pending      the calls of a ledger, as a table
    routes       what compiled routes have in common
    value, state                     both sides as values, and how those travel

The loops over whole runs of frames are not here: each protocol has its own (`proxy.bolt.runs`), written for its head
alone. One loop for all would look things up for each frame that cost as much as the rest of its work.
"""
