"""The texts of the second. Runs in: worker."""

from libc.string cimport memcpy

from fastgate.dataplane.base.text cimport put
from fastgate.dataplane.base.words cimport put_padded

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        int tm_wday
        long tm_gmtoff
    tm *localtime_r(const time_t *, tm *)
    tm *gmtime_r(const time_t *, tm *)
    void tzset()

cdef const char *DAYS = "SunMonTueWedThuFriSat"
cdef const char *MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


cdef void clock_start(Clock *c) noexcept nogil:
    """Read the time zone; the texts are not there before the first tick."""
    c.second = -1
    tzset()


cdef inline char *put_clock(char *at, const tm *t) noexcept nogil:
    """Write hh:mm:ss."""
    at = put_padded(at, t.tm_hour, 2)
    at[0] = c':'
    at = put_padded(at + 1, t.tm_min, 2)
    at[0] = c':'
    return put_padded(at + 1, t.tm_sec, 2)


cdef inline char *put_offset(char *at, long seconds, bint colon) noexcept nogil:
    """Write the offset from UTC as +hhmm or +hh:mm."""
    cdef int minutes
    at[0] = c'-' if seconds < 0 else c'+'
    minutes = <int>((-seconds if seconds < 0 else seconds) // 60)
    at = put_padded(at + 1, minutes // 60, 2)
    if colon:
        at[0] = c':'
        at += 1
    return put_padded(at, minutes % 60, 2)


cdef void clock_tick(Clock *c, int64_t wall_s) noexcept nogil:
    """Set the clock, seconds since 1970; costs nothing within a second."""
    cdef time_t now = <time_t>wall_s
    cdef tm t
    cdef char *at
    if wall_s == c.second:
        return
    c.second = wall_s
    localtime_r(&now, &t)
    at = put_padded(c.local_time, t.tm_mday, 2)
    at[0] = c'/'
    memcpy(at + 1, MONTHS + 3 * t.tm_mon, 3)
    at[4] = c'/'
    at = put_padded(at + 5, t.tm_year + 1900, 4)
    at[0] = c':'
    at = put_clock(at + 1, &t)
    at[0] = c' '
    put_offset(at + 1, t.tm_gmtoff, False)[0] = 0

    at = put_padded(c.iso_time, t.tm_year + 1900, 4)
    at[0] = c'-'
    at = put_padded(at + 1, t.tm_mon + 1, 2)
    at[0] = c'-'
    at = put_padded(at + 1, t.tm_mday, 2)
    at[0] = c'T'
    at = put_clock(at + 1, &t)
    put_offset(at, t.tm_gmtoff, True)[0] = 0

    gmtime_r(&now, &t)
    memcpy(c.http_date, DAYS + 3 * t.tm_wday, 3)
    at = put(c.http_date + 3, ", ")
    at = put_padded(at, t.tm_mday, 2)
    at[0] = c' '
    memcpy(at + 1, MONTHS + 3 * t.tm_mon, 3)
    at[4] = c' '
    at = put_padded(at + 5, t.tm_year + 1900, 4)
    at[0] = c' '
    at = put_clock(at + 1, &t)
    put(at, " GMT")[0] = 0
