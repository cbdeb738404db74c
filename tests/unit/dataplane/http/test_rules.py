"""What set, add and remove do to the fields of a head."""

import pytest
import write_probe as probe
from hypothesis import given
from hypothesis import strategies as st
from support.heads import fields_of, head_of, request, response
from write_probe import RequestProbe


def test_set_replaces_all_fields_in_place_of_the_first():
    passed = fields_of(
        (b"A", b"1"), (b"x-role", b"user"), (b"B", b"2"), (b"X-Role", b"root"),
        rules=[("set", b"X-Role", b"guest")],
    )  # fmt: skip

    assert passed == [(b"A", b"1"), (b"X-Role", b"guest"), (b"B", b"2")]


def test_set_of_a_field_that_is_not_there_goes_to_the_end():
    passed = fields_of((b"A", b"1"), rules=[("set", b"X-Role", b"guest")])

    assert passed == [(b"A", b"1"), (b"X-Role", b"guest")]


def test_add_keeps_what_is_there():
    passed = fields_of((b"A", b"1"), (b"B", b"2"), rules=[("add", b"a", b"3")])

    assert passed == [(b"A", b"1"), (b"B", b"2"), (b"a", b"3")]


def test_remove_deletes_every_field_of_the_name_and_no_other():
    passed = fields_of(
        (b"Cookie", b"1"), (b"cookie", b"2"), (b"Cookies", b"3"), (b"Cookia", b"4"),
        rules=[("remove", b"COOKIE", b"")],
    )  # fmt: skip

    assert passed == [(b"Cookies", b"3"), (b"Cookia", b"4")]


def test_rules_of_one_name_work_in_their_order():
    sent = (b"A", b"0")

    def after(*rules):
        return [value for _, value in fields_of(sent, rules=rules)]

    add, assign, remove = (
        ("add", b"a", b"+"),
        ("set", b"a", b"="),
        ("remove", b"a", b""),
    )
    assert after(add, add) == [b"0", b"+", b"+"]
    assert after(add, assign) == [b"="]
    assert after(assign, add) == [b"=", b"+"]
    assert after(remove, add) == [b"+"]
    assert after(add, remove) == []
    assert after(assign, ("set", b"A", b"2")) == [b"2"]
    assert after(assign, remove, add) == [b"+"]


@pytest.mark.parametrize("id", probe.NEW_IDS)
def test_a_rule_of_any_id_meets_its_name_and_no_other(id):
    fields = ((b"New", b"1"), (b"Old", b"2"))

    def passed(rules):
        made = RequestProbe(
            fields, authority=b"a", rules=rules, x_forwarded=True, forwarded=True,
            request_id=True, via=b"v", peer=b"unix:", port=b"",
        )  # fmt: skip
        _, written = head_of(made.call(b"New", id).write())
        return [f for f in written if f[0] in (b"New", b"Old")]

    assert passed([]) == list(fields)
    assert passed([("set", b"New", b"3")]) == [(b"New", b"3"), (b"Old", b"2")]
    assert passed([("add", b"New", b"3")]) == [*fields, (b"New", b"3")]
    assert passed([("remove", b"New", b"")]) == [(b"Old", b"2")]


def test_rules_reach_what_the_gateway_makes():
    how = {
        "x_forwarded": True,
        "forwarded": True,
        "request_id": True,
        "via": b"fastgate",
    }
    names = [
        b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
        b"X-Forwarded-Port", b"Forwarded", b"X-Request-ID", b"Via",
    ]  # fmt: skip

    assert [name for name, _ in fields_of(**how)] == names
    for name in names:
        removed = dict(fields_of(rules=[("remove", name.lower(), b"")], **how))
        assigned = dict(fields_of(rules=[("set", name, b"mine")], **how))
        assert set(removed) == set(names) - {name}
        assert assigned[name] == b"mine"
        assert set(assigned) == set(names)


def test_rules_reach_neither_host_nor_framing():
    names = [
        b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade",
        b"Keep-Alive",
    ]  # fmt: skip
    for name in names:
        for op in ("set", "add", "remove"):
            _, written = head_of(
                request((b"Host", b"x"), content_length=3, rules=[(op, name, b"9")])
            )
            assert written == [(b"Host", b"example.com"), (b"Content-Length", b"3")]


def test_a_rule_cannot_restore_a_claim_of_an_untrusted_peer():
    passed = fields_of(
        (b"X-Real-IP", b"203.0.113.3"), rules=[("set", b"X-Real-IP", b"192.0.2.1")]
    )

    assert passed == [(b"X-Real-IP", b"192.0.2.1")]


def test_as_many_rules_as_a_head_can_track_are_carried_out():
    rules = [("set", b"X-%d" % i, b"1") for i in range(64)]

    assert len(fields_of(rules=rules)) == 64


RULE = st.tuples(
    st.sampled_from(["set", "add", "remove"]),
    st.sampled_from([b"a", b"A", b"Via", b"b"]),
    st.sampled_from([b"1", b"2"]),
)
FIELD = st.tuples(st.sampled_from([b"A", b"a", b"VIA", b"B", b"c"]), st.just(b"0"))


@given(st.lists(FIELD, max_size=8), st.lists(RULE, max_size=6))
def test_rules_agree_with_editing_a_list_one_rule_at_a_time(fields, rules):
    expected = list(fields)
    for op, name, value in rules:
        same = [i for i, f in enumerate(expected) if f[0].lower() == name.lower()]
        rest = [f for f in expected if f[0].lower() != name.lower()]
        if op == "add":
            expected.append((name, value))
        elif op == "remove" or not same:
            expected = rest + [(name, value)] * (op == "set")
        else:
            expected[same[0]] = (name, value)
            expected = [f for i, f in enumerate(expected) if i not in same[1:]]

    # Added fields stand at the end, so order is compared name by name only.
    for name in (b"a", b"via", b"b", b"c"):
        for written in (
            fields_of(*fields, rules=rules),
            head_of(response(*fields, rules=rules))[1],
        ):
            assert [f for f in written if f[0].lower() == name] == [
                f for f in expected if f[0].lower() == name
            ]


@pytest.mark.parametrize("op", ["set", "remove"])
def test_a_rule_means_the_name_with_underscores_too_where_origins_may(op):
    rules = [(op, b"X-User-Role", b"guest")]
    sent = [(b"X_User_Role", b"admin"), (b"x_user-role", b"admin"), (b"X_User", b"1")]
    left = [(b"X-User-Role", b"guest")] if op == "set" else []

    assert fields_of(*sent, rules=rules, dashes=True) == [*left, (b"X_User", b"1")]
    assert fields_of(*sent, rules=rules) == [*sent, *left]
