"""The ring of incidents, opened to pytest. Runs in: tests only."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free

from fastgate.dataplane.telemetry cimport incidents

RING = incidents.RING_INCIDENTS
METERS = incidents.METERS
BURST = incidents.BURST_INCIDENTS
RATE_MS = incidents.RATE_MS
LINE_BYTES = incidents.LINE_BYTES
KINDS = incidents.INCIDENT_KINDS


cdef class Ring:
    """The incidents of one worker."""

    def __cinit__(self):
        self.all = incidents.incidents_make()

    def __dealloc__(self):
        free(self.all)

    def note(
        self, int64_t now_ms, int endpoint=0, int fault=1, bytes line=b"", int route=-1
    ):
        cdef incidents.Incident what = incidents.incident(
            incidents.INCIDENT_UPSTREAM_FAILED
        )
        what.endpoint = endpoint
        what.fault = fault
        what.route = route
        what.line = line
        what.line_len = <uint32_t>len(line)
        incidents.incident_note(self.all, now_ms, &what)

    def take(self, int64_t now_ms, bint leaving=False):
        """All that is due: (endpoint, fault, line, held) each."""
        cdef incidents.Noted noted
        incidents.incidents_release(self.all, now_ms, leaving)
        taken = []
        while incidents.incident_take(self.all, &noted):
            taken.append((
                noted.what.endpoint, noted.what.fault,
                noted.line[:noted.what.line_len], noted.held,
            ))
            if leaving:
                incidents.incidents_release(self.all, now_ms, True)
        return taken

    @property
    def lost(self):
        return self.all.lost
