# How value.py is laid out when it is compiled: see proxy/compiled.py.

from proxy.multiplexed.client cimport Client
from proxy.multiplexed.ledger cimport Ledger

cdef class SavedClient(Client):
    pass

cdef class SavedLedger(Ledger):
    pass
