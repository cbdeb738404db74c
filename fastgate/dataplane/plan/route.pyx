"""The settings of one route, into its struct. Runs in: master."""

from fastgate.dataplane.http.fields cimport header_id
from fastgate.dataplane.http.outgoing cimport settle_request, settle_response
from fastgate.dataplane.http.rules cimport (
    MAX_RULES, RULE_ADD, RULE_REMOVE, RULE_SET, Rule, Rules,
)
from fastgate.dataplane.plan.answer cimport (
    ANSWER_UPSTREAM, fill_answer, fill_errors,
)
from fastgate.dataplane.plan.gateway cimport AMBIGUOUS_PATHS
from fastgate.dataplane.plan.table cimport fill, number_of, row

cdef dict RULE_OPS = {"set": RULE_SET, "add": RULE_ADD, "remove": RULE_REMOVE}

cdef RoutePlan at               # of nobody: the rows take their offsets from it

cdef list TABLE = [
    row("ambiguous_paths", &at, &at.ambiguous_paths).one_of(AMBIGUOUS_PATHS),
    row("deadline", &at, &at.deadline_ms),
    row("max_body", &at, &at.max_body_bytes),
    row("upstream", &at, &at.upstream),
]
cdef list OF_GATEWAY = [        # what no route may set otherwise
    row("forwarded", &at, &at.request.forwarded),
    row("request_id", &at, &at.request.request_id),
    row("underscores", &at, &at.request.rules.dashes).one_of(
        {"safe": True, "drop": False, "pass": False}
    ),
    row("x_forwarded", &at, &at.request.x_forwarded),
]


cdef int fill_route(
    RoutePlan *r, dict values, dict settings, const GatewayPlan *gateway,
    int n_upstreams, Keeper keeper,
) except -1:
    """Raises KeyError or ValueError, as `fill` does; IndexError for the upstream."""
    cdef Text host = keeper.text(values["set_host"])
    fill(r, values, TABLE)
    fill(r, settings, OF_GATEWAY)
    r.errors = fill_errors(
        values["error_pages"], gateway.pages, gateway.n_pages, keeper
    )
    fill_answer(&r.answer, values, r.errors, keeper)
    if r.answer.kind == ANSWER_UPSTREAM and not 0 <= r.upstream < n_upstreams:
        raise IndexError("upstream out of range")
    r.name = keeper.text(values["name"])
    r.request.host = host.at
    r.request.host_len = host.len
    r.request.via = r.response.via = gateway.via_name.at
    r.request.via_len = r.response.via_len = gateway.via_name.len
    r.response.server = gateway.server_header.at
    r.response.server_len = gateway.server_header.len
    fill_rules(&r.request.rules, "request_rules", values, keeper)
    fill_rules(&r.response.rules, "response_rules", values, keeper)
    settle_request(&r.request)
    settle_response(&r.response)
    return 0


cdef int fill_rules(Rules *rules, str key, dict values, Keeper keeper) except -1:
    """A list of (op, name, value), in the order in which they are carried out."""
    cdef list given = values[key]
    cdef Text name, value
    cdef Rule *rule
    if len(given) > MAX_RULES:
        raise ValueError(f"{key}: more than {MAX_RULES}")
    rules.rules = <Rule *>keeper.array(len(given), sizeof(Rule))
    for op, header, content in given:
        name = keeper.text(header)
        value = keeper.text(content)
        rule = &rules.rules[rules.n]
        rule.op = number_of(key, op, RULE_OPS)
        rule.name = name.at
        rule.name_len = name.len
        rule.value = value.at
        rule.value_len = value.len
        rule.id = header_id(name.at, name.len)
        rules.n += 1
    return 0
