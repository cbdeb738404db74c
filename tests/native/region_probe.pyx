"""A region with one table more, as a room that adds one would make it.

Runs in: tests only. The line in `declare_with_marks` is what the declaration in
region.pxd gets; all else here is that room's own.
"""

from libc.string cimport memset

from fastgate.dataplane.base.atomics cimport fg_load
from fastgate.dataplane.shared.region cimport (
    RegionHeader, declare, declare_tables,
)


cdef void declare_with_marks(RegionHeader *h) noexcept nogil:
    declare_tables(h)
    declare(h, TABLE_MARKS, sizeof(Mark), h.endpoints)


cdef class Marked(Mapping):
    @staticmethod
    def create(int workers, int endpoints):
        cdef Marked region = Marked.__new__(Marked)
        region.make(workers, endpoints, 0, declare_with_marks)
        return region

    @staticmethod
    def attach(int fd):
        cdef Marked region = Marked.__new__(Marked)
        region.take(fd, declare_with_marks)
        return region

    def fill(self):
        """Every byte of the new table becomes FF."""
        memset(mark_at(&self.shared, 0), 0xFF, self.endpoints * sizeof(Mark))

    def until_ms(self, int endpoint):
        if not 0 <= endpoint < self.shared.n_endpoints:
            raise IndexError(endpoint)
        return fg_load(&mark_at(&self.shared, endpoint).until_ms)
