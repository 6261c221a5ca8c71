#!/usr/bin/env python3
"""It looks for a network interface other than its own loopback."""

import socket

from report import contained, got_out

names = [name for _, name in socket.if_nameindex()]
if set(names) <= {"lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"}:
    contained(f"there is {', '.join(names) or 'none'}")
got_out(f"there is {', '.join(names)}")
