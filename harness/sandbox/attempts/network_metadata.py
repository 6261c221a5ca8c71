#!/usr/bin/env python3
"""It asks the address from which cloud machines give away their credentials."""

import socket

from report import all_refused

hosts = ("169.254.169.254", "fd00:ec2::254", "169.254.170.2")
all_refused({host: lambda host=host: socket.create_connection((host, 80), timeout=3) for host in hosts})
