"""Relaxed and acquire/release access to words that other processes also touch.

Runs in: every process. Every field of shared memory goes through here, so that
a torn or cached access cannot be written by accident. Most fields have one kind
of writer (docs/shared-memory.md), and relaxed order is enough for them: a plain
store on x86-64 and arm64.
"""

from libc.stdint cimport int32_t, int64_t

cdef extern from * nogil:
    """
    #define fg_load32(p)        __atomic_load_n((p), __ATOMIC_RELAXED)
    #define fg_store32(p, v)    __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define fg_load(p)          __atomic_load_n((p), __ATOMIC_RELAXED)
    #define fg_store(p, v)      __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    /* A word with ONE writer: no lock prefix, readers see old or new. */
    #define fg_bump(p, d)   fg_store((p), fg_load(p) + (d))
    #define fg_bump32(p, d) fg_store32((p), fg_load32(p) + (d))
    /* What was written before the one is seen by whoever sees it by the other. */
    #define fg_publish(p, v)    __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define fg_observe(p)       __atomic_load_n((p), __ATOMIC_ACQUIRE)
    /* Every store before it is seen before any load behind it is made. */
    #define fg_fence()          __atomic_thread_fence(__ATOMIC_SEQ_CST)
    static inline int fg_cas32(int32_t *p, int32_t expected, int32_t wanted) {
        return __atomic_compare_exchange_n(p, &expected, wanted, 0,
                                           __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    """
    int32_t fg_load32(const int32_t *p) noexcept
    void fg_store32(int32_t *p, int32_t value) noexcept
    int64_t fg_load(const int64_t *p) noexcept
    void fg_store(int64_t *p, int64_t value) noexcept
    void fg_bump(int64_t *p, int64_t delta) noexcept
    void fg_bump32(int32_t *p, int32_t delta) noexcept
    void fg_publish(int64_t *p, int64_t value) noexcept
    int64_t fg_observe(const int64_t *p) noexcept
    void fg_fence() noexcept
    bint fg_cas32(int32_t *p, int32_t expected, int32_t wanted) noexcept
