"""Where endpoints are, and to which upstream each belongs: a row an endpoint slot.

Runs in: every process. The layout is drawn in docs/shared-memory.md; how rows are
taken and given up, places.pyx.
"""

from libc.stdint cimport int32_t, int64_t

from fastgate.dataplane.base.atomics cimport fg_observe
from fastgate.dataplane.base.system cimport sockaddr_storage
from fastgate.dataplane.shared.region cimport (
    TABLE_MEMBERSHIP, TABLE_PLACES, Shared,
)

cdef enum:
    ADDRESS_BYTES = 288         # a name of 253, its port, a zone
    LANES = 8                   # of generations that may be alive at once
    ALL_LANES = 0xFF
    MAX_UNIX_PATH_BYTES = 107   # sun_path holds 108, its terminating zero with them

cdef struct Place:              # 512 bytes. Writer: of its part, see Members
    int64_t owner               # upstream_id() of whose member it is; 0: nobody's
    int64_t given_up_at         # the membership version that no longer had it
    int32_t lanes               # a bit for each generation that has it as a member
    int32_t weight              # as its configuration says
    int32_t socket_address_len  # 0: its name did not resolve
    int32_t address_len
    sockaddr_storage socket_address
    char address[ADDRESS_BYTES]     # as configured: what logs and status show
    int64_t _reserved[8]

cdef struct Membership:         # 64 bytes, one row
    int64_t configured_version  # Writer: master
    int64_t found_version       # Writer: steward
    int32_t configured_used     # rows of its part ever used. Writer: master
    int32_t found_used          # of the other. Writer: steward
    int64_t _reserved[5]

cdef inline Place *place(Shared *s, int endpoint) noexcept nogil:
    """Of an endpoint slot, which must be in range."""
    return <Place *>s.tables[TABLE_PLACES] + endpoint

cdef inline Membership *membership(Shared *s) noexcept nogil:
    return <Membership *>s.tables[TABLE_MEMBERSHIP]

cdef inline int64_t membership_version(Shared *s) noexcept nogil:
    """It grows whenever an endpoint has come, gone or changed its address."""
    return (
        fg_observe(&membership(s).configured_version)
        + fg_observe(&membership(s).found_version)
    )

cdef int slots_used(Shared *s) noexcept nogil
cdef int64_t upstream_id(str name) except 0
