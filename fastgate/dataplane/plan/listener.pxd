"""What holds for one listener. Runs in: every process (made by the master)."""

from libc.stdint cimport uint8_t, uint64_t

from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.plan.gateway cimport GatewayPlan
from fastgate.dataplane.plan.keeper cimport Keeper

cdef struct ListenerPlan:
    Text name
    Text scheme
    Text port                   # in decimal; empty: a Unix socket
    uint8_t is_shared           # one socket for all workers: wake one of them
    uint64_t refused_methods    # a bit for each by llhttp's number: answered 405
    int n_refused_names
    Text *refused_names         # and those that llhttp does not know
    Text allow                  # what a 405 says of the others

cdef int fill_listener(
    ListenerPlan *l, dict values, const GatewayPlan *gateway, Keeper keeper
) except -1
