"""Run a gateway over the fake core: `tiny_master.py CONFIG-AS-JSON [FILE]`.

A reload reads FILE, JSON too; FAKE_FILE=hang lets that take for ever.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))
import fake_core

sys.modules["fastgate._core"] = fake_core

from fastgate.config.model import Config  # noqa: E402
from fastgate.control import boot, master, reload, resolve  # noqa: E402
from fastgate.errors import Problem, StartError  # noqa: E402

# So that a test of what takes too long does not.
reload.READY_WITHIN_S = reload.TRIED_WITHIN_S = 3.0

if os.environ.get("FAKE_RESOLVER") == "hang":
    ask = resolve.ask

    def hang(host):
        if not host.endswith(".invalid"):
            return ask(host)
        print("fastgate: resolving", file=sys.stderr, flush=True)
        return signal.pause()

    resolve.ask = hang

if os.environ.get("FAKE_DISK") == "hang":

    def open_on_a_stalled_disk(_target):
        print("fastgate: opening", file=sys.stderr, flush=True)
        while True:
            signal.pause()

    # At the start logs are opened by logs.py itself: here only when reopened.
    boot.open_log = open_on_a_stalled_disk


def problem(path, message, suggestion=None):
    return Problem("file", 1, 1, f"{path[-1]}: {message}", suggestion)


def reread():
    if os.environ.get("FAKE_FILE") == "hang":
        signal.pause()
    config = Config(**json.loads(Path(sys.argv[2]).read_text()))
    return SimpleNamespace(config=config, subject="file", problem=problem, warnings=())


if __name__ == "__main__":
    config = Config(**json.loads(sys.argv[1]))
    try:
        code = master.run(config, reread=reread if sys.argv[2:] else None)
    except StartError as error:
        print(f"fastgate: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
