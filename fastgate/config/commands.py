"""The commands of the program, once: for its help and its manual page.

Runs in: every process.
"""

COMMANDS = {
    "run": "serve, from a file (-c FILE), flags or both",
    "check": "test a configuration; binds and changes nothing",
    "demo": "serve on 127.0.0.1:8080 over two embedded upstreams",
    "status": "show workers, endpoints and listeners of a running gateway",
    "reload": "have a running gateway read its configuration again",
    "drain": "let endpoints finish what they have, and give them nothing new",
    "disable": "give endpoints nothing new, and show them as down",
    "enable": "take back what drain or disable said of endpoints",
    "weight": "give endpoints of a running gateway another weight",
    "version": "show the versions of everything in the program",
}

QUICK_START = (
    "fastgate run --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001,127.0.0.1:9002"
)

EXIT_CODES = {
    0: "good",
    1: "bad configuration",
    2: "bad usage",
    3: "could not start",
}
