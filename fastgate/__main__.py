"""`python -m fastgate`.

Runs in: master.
"""

import sys

from fastgate.cli import main

sys.exit(main())
