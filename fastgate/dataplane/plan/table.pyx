"""A table of settings, and what fills a struct by it. Runs in: master."""

cimport cython
from libc.string cimport memcpy

cdef enum:
    MAX_BITS = 63               # of a number on its way into a field


@cython.final
cdef class Row:
    """One setting and the field that it fills; made by `row`."""

    cdef Row within(self, object low, object high):
        """Bound the number: low..high, both allowed.

        Raises ValueError for a bound that the field does not hold.
        """
        self.checked(low)
        self.checked(high)
        self.low = low
        self.high = high
        return self

    cdef Row one_of(self, dict words):
        """The setting is a word; `words` says which number each stands for.

        Raises ValueError for a number that the field does not hold.
        """
        for number in words.values():
            self.checked(number)
        self.words = words
        return self

    cdef int64_t read(self, object value) except? -1:
        """The number that a setting stands for. Raises ValueError with the key."""
        if self.words is not None:
            return number_of(self.key, value, self.words)
        return self.checked(value)

    cdef int64_t checked(self, object number) except? -1:
        if not isinstance(number, int):
            raise ValueError(f"{self.key}: {number!r} is not a number")
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.key}: {number} is not in {self.low}..{self.high}")
        return number


cdef Row row(str key, const void *base, Number *field):
    """A row for `field`, which is one of the struct at `base`; neither is read."""
    cdef Row made = Row.__new__(Row)
    cdef bint is_unsigned = <Number>-1 > 0
    cdef object bits = MAX_BITS if sizeof(Number) == 8 else (
        8 * sizeof(Number) - (not is_unsigned)
    )
    made.key = key
    made.offset = <const char *>field - <const char *>base
    made.width = sizeof(Number)
    made.low = 0 if is_unsigned else -(1 << bits)
    made.high = (1 << bits) - 1
    return made


cdef int fill(void *target, dict values, list table) except -1:
    """Write each row's setting into its field of the struct at `target`.

    Settings without a row are passed over. Raises KeyError for a row without a
    setting, ValueError for one that its row does not allow; both name the key.
    """
    cdef Row one
    cdef int64_t number
    for entry in table:
        one = <Row>entry
        number = one.read(values[one.key])
        # Little-endian: the low bytes come first.
        memcpy(<char *>target + one.offset, &number, one.width)
    return 0


cdef int number_of(str key, object word, dict words) except? -1:
    """The number that a word stands for. Raises ValueError with the key."""
    number = words.get(word)
    if number is None:
        raise ValueError(f"{key}: {word!r} is not one of {', '.join(words)}")
    return number
