"""What nginx calls our settings, for suggestions only.

Runs in: every process (imported only where configuration is read).
"""

NGINX_NAMES = {
    "client_body_timeout": "body_timeout",
    "client_header_timeout": "header_timeout",
    "client_max_body_size": "max_body",
    "keepalive_timeout": "keepalive",
    "error_page": "error_pages",
    "large_client_header_buffers": "max_header",
    "listen": "address",
    "location": "path_prefix",
    "max_fails": "eject",
    "pid": "pid_file",
    "proxy_connect_timeout": "connect_timeout",
    "proxy_next_upstream": "retry",
    "proxy_next_upstream_tries": "retries",
    "proxy_pass": "upstream",
    "proxy_read_timeout": "upstream_timeout",
    "proxy_set_header": "request_headers",
    "return": "respond",
    "rewrite": "redirect",
    "add_header": "response_headers",
    "server": "endpoints",
    "server_name": "host",
    "server_tokens": "server_header",
    "servers": "endpoints",
    "set_real_ip_from": "trusted_proxies",
    "worker_connections": "max_conns",
    "worker_processes": "workers",
    "worker_rlimit_nofile": "nofile",
    "worker_shutdown_timeout": "drain",
}
