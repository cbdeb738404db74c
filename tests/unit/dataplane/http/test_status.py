"""Status codes and their phrases."""

import write_probe as probe


def test_phrases_are_those_of_rfc_9110():
    assert probe.reason_phrase(413) == b"Content Too Large"
    assert probe.reason_phrase(429) == b"Too Many Requests"
    for unknown in (-1, 0, 299, 600, 10**9):
        assert probe.reason_phrase(unknown) == b""
