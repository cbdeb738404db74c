"""SipHash, for bytes that others may choose.

Runs in: master (the identities of endpoints), worker (balancing keys).
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy


cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[0] = rotated(v[0], 32)
    v[2] += v[3]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[2] = rotated(v[2], 32)


cdef uint64_t siphash(
    const char *at, size_t n, uint64_t k0, uint64_t k1
) noexcept nogil:
    """SipHash-2-4 of n bytes under a key of 128 bits.

    Keyed, so that a client who may choose the text cannot choose the endpoint, nor
    make keys that collide. Little-endian machines only, as all of fastgate.
    Source: Aumasson and Bernstein 2012, INDOCRYPT.
    """
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t whole = n & ~<size_t>7
    cdef size_t i = 0
    cdef int j, _j
    v[0] = k0 ^ <uint64_t>0x736F6D6570736575U
    v[1] = k1 ^ <uint64_t>0x646F72616E646F6DU
    v[2] = k0 ^ <uint64_t>0x6C7967656E657261U
    v[3] = k1 ^ <uint64_t>0x7465646279746573U
    while i < whole:
        memcpy(&word, at + i, 8)
        v[3] ^= word
        sip_round(v)
        sip_round(v)
        v[0] ^= word
        i += 8
    word = <uint64_t>n << 56
    for j in range(<int>(n - whole)):
        word |= <uint64_t><uint8_t>at[whole + j] << (8 * j)
    v[3] ^= word
    sip_round(v)
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    for _j in range(4):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef uint64_t hash_bytes(const char *at, size_t n, uint64_t seed) noexcept nogil:
    """SipHash-2-4 keyed by `seed`: balancing keys and endpoint identities.

    Workers, and gateways, that shall agree on a key's endpoint share the seed.
    """
    return siphash(at, n, seed, mixed(seed ^ GOLDEN))
