"""What nginx and HAProxy do where nothing is said, for the documentation.

Runs in: the command line, for whoever changes the model.

From the documentation of nginx 1.28 and HAProxy 3.0. Where nginx counts in pages of
memory, they are those of 4k that x86-64 has.
"""

from typing import NamedTuple


class Peers(NamedTuple):
    """Their defaults for one setting of ours."""

    nginx: str
    haproxy: str


_NOTHING_ALIKE = "no such thing"

PEERS: dict[str, Peers] = {
    "workers": Peers("1 (`worker_processes`)", "a thread per CPU (`nbthread`)"),
    "pin": Peers(
        "off (`worker_cpu_affinity`)",
        "first NUMA node, no thread to one CPU (`cpu-map`)",
    ),
    "user": Peers("`nobody`, or what the build says", "none"),
    "group": Peers("the one named as the user", "none"),
    "pid_file": Peers("`logs/nginx.pid`", "none"),
    "admin_socket": Peers(_NOTHING_ALIKE, "none (`stats socket`)"),
    "drain": Peers(
        "no limit (`worker_shutdown_timeout`)", "no limit (`hard-stop-after`)"
    ),
    "nofile": Peers(
        "the process's soft limit (`worker_rlimit_nofile`)",
        "the hard limit (`ulimit-n`, `fd-hard-limit`)",
    ),
    "max_conns": Peers(
        "512, both sides counted (`worker_connections`)",
        "what the process's limit allows (`maxconn`)",
    ),
    "reuseport": Peers("off", "off: threads share a socket (`shards`)"),
    "backlog": Peers("511", "the `maxconn` of the frontend"),
    "accept_batch": Peers("1 (`multi_accept off`)", "4 (`tune.maxaccept`)"),
    "tcp_nodelay": Peers("on", "on"),
    "tcp_keepalive": Peers("off (`so_keepalive`)", "off (`option clitcpka`)"),
    "tcp_user_timeout": Peers("the system's", "the system's (`tcp-ut`)"),
    "tcp_notsent_lowat": Peers("the system's", "the system's"),
    "keepalive": Peers("75s", "`timeout client`: none, with a warning"),
    "keepalive_requests": Peers("1000", "no limit"),
    "half_close": Peers(
        "off: the upstream request is ended (`proxy_ignore_client_abort`)",
        "on (no `option abortonclose`)",
    ),
    "trace": Peers("405", "passed"),
    "refused_methods": Peers("none (`limit_except`)", "none (`http-request deny`)"),
    "header_timeout": Peers("60s", "none (`timeout http-request`)"),
    "body_timeout": Peers("60s", "`timeout client`: none"),
    "min_rate": Peers(_NOTHING_ALIKE, _NOTHING_ALIKE),
    "send_timeout": Peers("60s", "`timeout client`: none"),
    "min_send_rate": Peers(_NOTHING_ALIKE, _NOTHING_ALIKE),
    "lingering_time": Peers("30s", "none"),
    "lingering_timeout": Peers("5s", "none"),
    "max_header": Peers(
        "a 1k buffer, then four of 8k; each line within one",
        "15k (`tune.bufsize` less `tune.maxrewrite`)",
    ),
    "max_headers": Peers(
        "no limit", "100 (`tune.http.maxhdr`, the first line counted)"
    ),
    "max_response_header": Peers("4k (`proxy_buffer_size`)", "15k"),
    "max_response_headers": Peers("no limit", "100 (`tune.http.maxhdr`)"),
    "max_target": Peers("8k", "within the 15k"),
    "max_body": Peers("1m", "no limit"),
    "buffer_response": Peers(
        "32k (`proxy_buffers`), then a file of up to 1g", "16k (`tune.bufsize`)"
    ),
    "connect_timeout": Peers("60s", "none (`timeout connect`)"),
    "upstream_timeout": Peers("60s (`proxy_read_timeout`)", "none (`timeout server`)"),
    "between_timeout": Peers("60s (`proxy_read_timeout`)", "none (`timeout server`)"),
    "tunnel_timeout": Peers(
        "60s (`proxy_read_timeout`)", "`timeout tunnel`, or the two others: none"
    ),
    "deadline": Peers(_NOTHING_ALIKE, _NOTHING_ALIKE),
    "buffer_request": Peers(
        "the whole body, on disk beyond 8k (`proxy_request_buffering`)", "0"
    ),
    "retries": Peers(
        "every other server, on errors and timeouts (`proxy_next_upstream`)",
        "3, of connecting alone",
    ),
    "retry_budget": Peers(_NOTHING_ALIKE, _NOTHING_ALIKE),
    "upstream_pool": Peers(
        "none is kept (`keepalive`, until 1.28)",
        "no limit (`pool-max-conn`), `http-reuse safe`",
    ),
    "upstream_idle": Peers("60s", "half of them close each 5s (`pool-purge-delay`)"),
    "upstream_max": Peers("no limit (`max_conns`)", "no limit (`maxconn` of a server)"),
    "queue": Peers("no such thing (commercial version)", "no limit (`maxqueue`)"),
    "queue_timeout": Peers(
        _NOTHING_ALIKE, "`timeout queue`, or `timeout connect`: none"
    ),
    "eject": Peers("1/10s (`max_fails`, `fail_timeout`)", "off (`observe`)"),
    "access_log": Peers("`logs/access.log`", "off (`log`)"),
    "access_log_format": Peers("combined", "its own (`option httplog`)"),
    "access_log_buffer": Peers(
        "none: a write per line (`buffer=`)", "none: a datagram per line"
    ),
    "access_log_flush": Peers("none (`flush=`)", "none"),
    "error_log": Peers("`logs/error.log`", "stderr while it starts"),
    "log_level": Peers("error", "all (`log`)"),
    "server_header": Peers("`nginx/VERSION`", "the server's own"),
    "via": Peers(_NOTHING_ALIKE, "off (`http-request add-header`)"),
    "via_name": Peers(_NOTHING_ALIKE, _NOTHING_ALIKE),
    "forwarded": Peers(_NOTHING_ALIKE, "off (`option forwarded`)"),
    "x_forwarded": Peers("off (`proxy_set_header`)", "off (`option forwardfor`)"),
    "request_id": Peers("off (`$request_id`)", "off (`unique-id-header`)"),
    "trusted_proxies": Peers(
        "none (`set_real_ip_from`)", "none: a client's are passed on"
    ),
    "underscores": Peers("dropped (`underscores_in_headers`)", "passed"),
    "ambiguous_paths": Peers(
        "matched decoded and merged, forwarded as it came",
        "matched and forwarded as it came",
    ),
}
