"""The shared memory region: a sealed memfd, its header, a directory of tables.

Runs in: every process (made by the master, inherited by fork; a new master after
an upgrade attaches to it by its descriptor).

The layout is drawn in docs/shared-memory.md. Which tables there are is declared in
one place, `declare_tables` in the .pxd; everything here goes by that declaration.
"""

import errno
import fcntl
import os

from libc.errno cimport errno as c_errno
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport (
    MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap,
)
from posix.unistd cimport close

# "FASTGATE" as it stands in memory on a little-endian machine.
cdef uint64_t MAGIC = <uint64_t>0x4554414754534146U

assert sizeof(RegionHeader) <= PAGE_BYTES
assert <int>TABLE_KINDS <= MAX_TABLES


cdef void draw_header(
    RegionHeader *h, int workers, int configured, int found, declare_fn declare_all
) noexcept nogil:
    """The header of a region of this many rows and slots: every byte of it.

    The one place that knows where a table lies. A reader compares its own drawing
    with what it found, so nothing of a foreign header is ever trusted.
    """
    memset(h, 0, sizeof(RegionHeader))
    h.magic = MAGIC
    h.layout_version = LAYOUT_VERSION
    h.workers = workers
    h.endpoints = configured + found
    h.configured = configured
    h.found = found
    h.size_bytes = PAGE_BYTES
    declare_all(h)


cdef int row_bytes(int kind) noexcept:
    """Bytes of a row of that table, as declared; of lease cells for one worker."""
    cdef RegionHeader drawn
    cdef int i
    draw_header(&drawn, 1, 1, 0, declare_tables)
    for i in range(drawn.n_tables):
        if drawn.tables[i].kind == kind:
            return drawn.tables[i].row_bytes
    return 0


cdef class Mapping:
    """A region in this process's memory, whatever its tables hold.

    Made by `make` (master) or `take` (a new master); forked processes simply go on
    using the object that they inherited.
    """

    def __cinit__(self):
        self.fd = -1
        self._base = NULL

    def __init__(self):
        raise TypeError("use Region.create or Region.attach")

    def __dealloc__(self):
        if self._base is not NULL:
            munmap(self._base, self._size_bytes)
        if self.fd >= 0:
            close(self.fd)

    @property
    def workers(self):
        return self.shared.n_workers

    @property
    def endpoints(self):
        return self.shared.n_endpoints

    cdef int make(
        self, int workers, int endpoints, int found, declare_fn declare_all
    ) except -1:
        """A new region, every byte of its tables zero.

        endpoints  slots for those of configurations; `found` more for the others
        Raises ValueError for counts out of range, OSError when the kernel refuses.
        """
        cdef RegionHeader header
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"workers: {workers} not in 1..{MAX_WORKERS}")
        if not 1 <= endpoints <= MAX_SLOTS:
            raise ValueError(f"endpoints: {endpoints} not in 1..{MAX_SLOTS}")
        if not 0 <= found <= MAX_SLOTS - endpoints:
            raise ValueError(f"found: {found} not in 0..{MAX_SLOTS - endpoints}")
        draw_header(&header, workers, endpoints, found, declare_all)
        self.fd = os.memfd_create("fastgate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, header.size_bytes)
        # Nobody can shorten it under a reader (SIGBUS), or lift the seals.
        fcntl.fcntl(
            self.fd,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
        self._size_bytes = header.size_bytes
        self.map_fd()
        memcpy(self._base, &header, sizeof(RegionHeader))
        self.point(&header)
        return 0

    cdef int take(self, int fd, declare_fn declare_all) except -1:
        """The region behind a descriptor that another process made.

        The descriptor is duplicated; the caller keeps its own. Raises ValueError
        unless it is a sealed memory file with exactly the header that this build
        would have written: kind, place, size and number of rows of each table, and
        the size of the whole. Raises OSError when the kernel refuses.
        """
        cdef RegionHeader found, expected
        cdef int64_t size_bytes = os.fstat(fd).st_size

        needed = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            seals = 0
        if seals & needed != needed:
            raise ValueError("shared memory: the descriptor is not sealed")
        if size_bytes < PAGE_BYTES:
            raise ValueError(f"shared memory: {size_bytes} bytes hold no header")
        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
        self._size_bytes = size_bytes
        self.map_fd()

        # Judged on a copy: what was checked cannot change afterwards.
        memcpy(&found, self._base, sizeof(RegionHeader))
        if found.magic != MAGIC:
            raise ValueError("shared memory: not fastgate's")
        if found.layout_version != LAYOUT_VERSION:
            raise ValueError(
                f"shared memory: layout version {found.layout_version}, "
                f"this program has {LAYOUT_VERSION}"
            )
        if not (
            1 <= found.workers <= MAX_WORKERS
            and 1 <= found.configured <= MAX_SLOTS
            and 0 <= found.found <= MAX_SLOTS - found.configured
        ):
            raise ValueError("shared memory: row counts out of range")
        draw_header(
            &expected, found.workers, found.configured, found.found, declare_all
        )
        if (
            memcmp(&found, &expected, sizeof(RegionHeader)) != 0
            or size_bytes != expected.size_bytes
        ):
            raise ValueError("shared memory: another build laid it out differently")
        self.point(&expected)
        return 0

    cdef int map_fd(self) except -1:
        cdef void *base = mmap(
            NULL, self._size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0
        )
        if base == MAP_FAILED:
            raise OSError(c_errno, os.strerror(c_errno))
        self._base = base
        return 0

    cdef void point(self, const RegionHeader *drawn) noexcept:
        """Aim `shared` at the tables. Counts and places are this build's own."""
        cdef int i
        for i in range(drawn.n_tables):
            self.shared.tables[drawn.tables[i].kind] = (
                <char *>self._base + drawn.tables[i].offset
            )
        self.shared.n_workers = drawn.workers
        self.shared.n_endpoints = drawn.endpoints
        self.shared.n_found = drawn.found
