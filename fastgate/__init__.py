"""fastgate: reverse proxy, load balancer and API gateway in one program.

Runs in: every process.
"""

__version__ = "0.1.0"
