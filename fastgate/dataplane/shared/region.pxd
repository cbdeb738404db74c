"""The shared memory region: a sealed memfd, its header, a directory of tables.

Runs in: every process (made by the master, inherited by fork). The layout is drawn
in docs/shared-memory.md. What a table's rows are is known to the room that owns the
table, and to nobody here.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef enum:
    LAYOUT_VERSION = 4
    PAGE_BYTES = 4096
    MAX_WORKERS = 256
    MAX_ENDPOINTS = 65536       # of one configuration
    MAX_SLOTS = 4 * MAX_ENDPOINTS   # two configurations, and what is found besides
    MAX_TABLES = 32             # entries in the directory; kinds are below it
    CELLS_PER_LINE = 16         # int32 cells in one cache line

cdef struct TableEntry:         # of the directory: one table, as it was laid out
    int32_t kind                # a TABLE_...
    int32_t row_bytes
    int64_t rows
    int64_t offset              # from the region's first byte; whole pages

cdef struct RegionHeader:       # in one page. Writer: master, before it forks
    uint64_t magic
    int32_t layout_version
    int32_t workers             # what the region was made for
    int32_t endpoints           # slots: first those of what configurations name,
    int32_t configured
    int32_t found               # then those of what is found at run time
    int32_t n_tables            # entries of the directory that are used
    int64_t size_bytes
    TableEntry tables[MAX_TABLES]

# --- the declaration: which tables there are

cdef enum:                      # kinds of table; each keeps its number for ever
    TABLE_WORKERS = 1
    TABLE_ENDPOINTS = 2
    TABLE_CELLS = 3
    TABLE_COUNTS = 4
    TABLE_PLACES = 5
    TABLE_MEMBERSHIP = 6
    TABLE_KINDS                 # above all of them

cdef inline void declare_tables(RegionHeader *h) noexcept nogil:
    """Every table in the order of memory: bytes of a row, number of rows.

    The room that owns a table asserts that its struct is as long as its row here.
    """
    declare(h, TABLE_WORKERS, 256, h.workers)
    declare(h, TABLE_ENDPOINTS, 64, h.endpoints)
    declare(h, TABLE_CELLS, 4 * cell_columns(h.workers), h.endpoints)
    declare(h, TABLE_COUNTS, 32, <int64_t>h.workers * h.endpoints)
    declare(h, TABLE_PLACES, 512, h.endpoints)
    declare(h, TABLE_MEMBERSHIP, 64, 1)

# --- what it is made with

ctypedef void (*declare_fn)(RegionHeader *h) noexcept nogil

cdef inline void declare(
    RegionHeader *h, int kind, int row_bytes, int64_t rows
) noexcept nogil:
    """Lay one more table behind those that were declared, on a page of its own."""
    cdef TableEntry *entry = &h.tables[h.n_tables]
    entry.kind = kind
    entry.row_bytes = row_bytes
    entry.rows = rows
    entry.offset = h.size_bytes
    h.n_tables += 1
    h.size_bytes += (row_bytes * rows + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES

cdef inline int cell_columns(int workers) noexcept nogil:
    """Lease cells of an endpoint: one a worker, rounded up to a cache line."""
    return (workers + CELLS_PER_LINE - 1) // CELLS_PER_LINE * CELLS_PER_LINE

cdef struct Shared:             # this process's view: borrowed from a Mapping
    void *tables[MAX_TABLES]    # by kind; the room that owns one gives it its type
    int n_workers
    int n_endpoints
    int n_found

cdef int row_bytes(int kind) noexcept

cdef class Mapping:
    """Owns the memory; `shared` is valid while the Mapping lives."""

    cdef Shared shared
    cdef void *_base            # unmapped when the Mapping goes
    cdef size_t _size_bytes
    cdef readonly int fd        # the sealed memfd, inherited by fork
    cdef int make(
        self, int workers, int endpoints, int found, declare_fn declare_all
    ) except -1
    cdef int take(self, int fd, declare_fn declare_all) except -1
    cdef int map_fd(self) except -1
    cdef void point(self, const RegionHeader *drawn) noexcept
