"""Run a gateway over the fake core: `tiny_master.py CONFIG-AS-JSON`."""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import fake_core

sys.modules["fastgate._core"] = fake_core

from fastgate.config.model import Config  # noqa: E402
from fastgate.control import boot, master, resolve  # noqa: E402
from fastgate.errors import StartError  # noqa: E402

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

if __name__ == "__main__":
    config = Config(**json.loads(sys.argv[1]))
    try:
        code = master.run(config)
    except StartError as error:
        print(f"fastgate: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
