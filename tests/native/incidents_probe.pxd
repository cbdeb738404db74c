"""What tests hold of incidents.

Runs in: tests only.
"""

from fastgate.dataplane.telemetry cimport incidents


cdef class Ring:
    cdef incidents.Incidents *all
