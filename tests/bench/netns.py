"""Two hosts on one machine: a pair of network namespaces joined by a veth pair with MTU 1500 and its offloads on.

Root only. Names carry the pid of this script, so that two runs do not meet, and everything is removed at the end.
"""

import os
import subprocess

from procs import Failed, until

HOSTS = ("10.77.0.1", "10.77.0.2")


class Host:
    """One host: its network namespace, or None for this machine's own, and its address."""

    def __init__(self, name, address):
        self.name, self.address = name, address

    def argv(self, *argv):
        """The command line that runs a program there."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *argv] if self.name else list(argv)


LOOPBACK = Host(None, "127.0.0.1")


def ip(*args):
    """Run `ip`, Failed with its message when it refuses."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def unavailable():
    """Returns the reason why namespaces cannot be made here; empty if they can."""
    return "needs root for its two network namespaces; run it as root" if os.geteuid() else ""


def make_pair(bench):
    """Make both namespaces, up and able to multicast; the two hosts."""
    names = [f"swarm-bench-{side}-{os.getpid()}" for side in "ab"]
    for name in names:
        bench.undo.append(lambda name=name: subprocess.run(["ip", "netns", "del", name], check=False,
                                                           capture_output=True))
        ip("netns", "add", name)
    # Both ends are born inside their namespaces: nothing ever appears among the interfaces of the machine.
    ip("-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
    for name, address in zip(names, HOSTS):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", "eth0", "multicast", "on", "up")
        ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")
    for name in names:
        until(lambda name=name: "state UP" in ip("-n", name, "link", "show", "eth0"), f"eth0 of {name} to come up")
    return [Host(name, address) for name, address in zip(names, HOSTS)]
