"""When a dead child is replaced: at once, then later and later.

Runs in: master.
"""

import random
from collections.abc import Callable

# A slot whose worker served this long has no history.
FORGIVEN_AFTER_S = 10.0
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
# A ready worker that others kill (an operator, the kernel for want of memory)
# did not crash: its slot is filled at once, but no oftener than this.
SHORTEST_LIFE_S = 0.1


class Backoff:
    """The delays of one slot: 0, then full jitter under 0.1, 0.2 ... 5 s.

    Full jitter, so that the slots of one crash do not fork in step.
    Source: Brooker 2015, "Exponential Backoff and Jitter".
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._deaths = 0

    def next_delay_s(self, healthy_s: float, *, was_killed: bool) -> float:
        """Count a death and say how long to wait before the next fork.

        healthy_s   how long the child had been ready; 0 when it never was
        was_killed  by a SIGKILL that was not the master's
        """
        if was_killed and healthy_s > 0:
            return max(0.0, SHORTEST_LIFE_S - healthy_s)
        if healthy_s >= FORGIVEN_AFTER_S:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        # The exponent is bounded: 0.1 * 2**6 is past the longest delay already.
        ceiling_s = FIRST_DELAY_S * 2.0 ** min(self._deaths - 2, 6)
        return self._draw() * min(ceiling_s, LONGEST_DELAY_S)
