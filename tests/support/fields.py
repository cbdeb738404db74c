"""What a request and a response have in common: header fields."""

from __future__ import annotations


class Fields:
    """Looks up `headers`, whose names are in the case in which they came."""

    headers: list[tuple[bytes, bytes]]

    def values(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def value(self, name: str) -> bytes | None:
        found = self.values(name)
        if len(found) > 1:
            raise AssertionError(f"{name} occurs {len(found)} times: {found}")
        return found[0] if found else None
