"""Ports for servers in processes of their own."""

import atexit
import socket


def own_port() -> int:
    """Return a port of 127.0.0.1 that nobody else is given until the tests end."""
    # Bound, not listening: a server that sets SO_REUSEADDR too can take the port, as often as it is started.
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    atexit.register(reserved.close)
    port: int = reserved.getsockname()[1]
    return port
