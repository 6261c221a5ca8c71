"""A program of ours on the host that listens, so that whether somebody reaches it can be seen from both sides."""

import socket
import threading
from contextlib import suppress


class Listener:
    """Listens on a free TCP port of every IPv4 address of this machine, and on an abstract Unix socket.

    name: of the Unix socket. port: that was free. reached: how often somebody connected.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reached = 0
        self._tcp = socket.create_server(("0.0.0.0", 0))
        self.port: int = self._tcp.getsockname()[1]
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(f"\0{name}")
        self._unix.listen()
        for one in (self._tcp, self._unix):
            threading.Thread(target=self._accept, args=(one,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listening.accept()[0].close()
                self.reached += 1

    def close(self) -> None:
        for one in (self._tcp, self._unix):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def own_addresses() -> list[str]:
    """The IPv4 addresses by which this machine can be called, as far as its name and its way out tell."""
    found = set()
    with suppress(OSError):
        found.update(socket.gethostbyname_ex(socket.gethostname())[2])
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("192.0.2.1", 9))  # of a packet socket: nothing is sent, only the way is looked up
        found.add(udp.getsockname()[0])
    return sorted(found)
