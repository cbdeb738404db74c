"""A worker's own copy of where an endpoint is. Runs in: worker.

Copied from its row of shared memory when that is seen to be a member, and left as it is
when it is none any more: what is under way there still needs it.
"""

from libc.stdint cimport int64_t, uint64_t

from fastgate.dataplane.base.system cimport sockaddr_storage, socklen_t
from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.shared.places cimport ADDRESS_BYTES

cdef struct Endpoint:
    int upstream                # index into the plan
    int member                  # its place in the group of that
    int64_t owner               # of the row that was copied; 0: none ever was
    uint64_t identity           # hash of the address: its place for `hash`
    Text address                # what logs show: of `text`
    socklen_t socket_address_len    # 0: its name did not resolve
    sockaddr_storage socket_address
    char text[ADDRESS_BYTES]
