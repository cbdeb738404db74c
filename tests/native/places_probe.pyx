"""What a worker says of the membership. Runs in: tests only."""

from fastgate.dataplane.base.atomics cimport fg_store
from fastgate.dataplane.shared.places cimport membership_version
from fastgate.dataplane.shared.slots cimport Region


def see(Region region, int slot):
    """The worker of that row has taken in what is published now."""
    fg_store(&region.row(slot).members_seen, membership_version(&region.shared))
