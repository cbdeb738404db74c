"""The settings of one listener, into its struct. Runs in: master."""

from fastgate.dataplane.http.methods cimport (
    MAX_METHOD_BYTES, METHOD_TRACE, method_number,
)
from fastgate.dataplane.plan.table cimport fill, row

# What Allow lists if it is forwarded: every resource may have them. Whether one knows
# the methods of WebDAV is not ours to say.
cdef tuple ADVERTISED = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
)

cdef ListenerPlan at            # of nobody: the rows take their offsets from it

cdef list TABLE = [
    row("is_shared", &at, &at.is_shared),
]


cdef int fill_listener(
    ListenerPlan *l, dict values, const GatewayPlan *gateway, Keeper keeper
) except -1:
    """Raises KeyError or ValueError, as `fill` does; also for a refused method."""
    fill(l, values, TABLE)
    l.name = keeper.text(values["name"])
    l.scheme = keeper.text(values["scheme"])
    l.port = keeper.text(str(values["port"] or ""))
    fill_refused_methods(l, values["refused_methods"], keeper)
    if not gateway.trace:
        l.refused_methods |= <uint64_t>1 << METHOD_TRACE
    passed = [name for name in ADVERTISED if not is_refused(l, name.encode())]
    l.allow = keeper.text(", ".join(passed))
    return 0


cdef int fill_refused_methods(ListenerPlan *l, object methods, Keeper keeper) except -1:
    cdef Text text
    cdef int number
    l.refused_names = <Text *>keeper.array(len(methods), sizeof(Text))
    for method in methods:
        text = keeper.text(method)
        number = method_number(text.at, text.len)
        if number >= 0:
            l.refused_methods |= <uint64_t>1 << number
        elif 0 < text.len <= MAX_METHOD_BYTES:
            l.refused_names[l.n_refused_names] = text
            l.n_refused_names += 1
        else:
            raise ValueError(f"refused_methods: {method}")
    return 0


cdef bint is_refused(const ListenerPlan *l, bytes method):
    return l.refused_methods >> method_number(method, len(method)) & 1
