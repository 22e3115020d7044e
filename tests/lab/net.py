"""Hosts on one machine: network namespaces on a bridge, each with a shaped link, and sites joined by a thin line.

Names carry the pid of this script; everything is removed at the end. Shaping is TBF, both ways, with queues of 50 ms and
MTU 1500, and offloads are off, so that what is shaped are the packets a real wire carries.
"""

import json
import subprocess

from procs import Failed

QUEUE = "50ms"


def run(*argv):
    """Run a command; Failed with its message when it refuses."""
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """One host: its namespace, its address, its site."""

    def __init__(self, name, address, site):
        self.name, self.address, self.site = name, address, site

    def argv(self, *argv):
        """The command line that runs a program there."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *argv]

    def wire(self):
        """Bytes that left and reached it so far, with all headers: (sent, received)."""
        return counters(self.name, "eth0")


def counters(namespace, device):
    """(sent, received) bytes of a device."""
    stats = json.loads(run("ip", "-n", namespace, "-s", "-j", "link", "show", device))[0]["stats64"]
    return stats["tx"]["bytes"], stats["rx"]["bytes"]


class Network:
    """`sites` is how many hosts each site has; the first host is the origin."""

    def __init__(self, lab, sites, rate, line=None, origin_rate=None, congestion=None):
        self.lab, self.rate, self.line, self.hosts, self.routers = lab, rate, line, [], []
        self.congestion = congestion
        self.prefix = f"swl{lab.pid}"
        core = self._namespace("core")
        if len(sites) > 1:
            sysctl(core, "net/ipv4/ip_forward", "1")
        for number, count in enumerate(sites):
            self._site(core, number, count, len(sites) > 1, origin_rate)

    def _namespace(self, name):
        full = f"{self.prefix}-{name}"
        self.lab.undo.append(lambda: subprocess.run(["ip", "netns", "del", full], capture_output=True, check=False))
        run("ip", "netns", "add", full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        if self.congestion:
            sysctl(full, "net/ipv4/tcp_congestion_control", self.congestion)
        return full

    def _site(self, core, number, count, routed, origin_rate):
        hub = self._namespace(f"hub{number}")
        run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", hub, "link", "set", "br0", "up")
        net = f"10.77.{number + 1}"
        for index in range(count):
            name = self._namespace(f"s{number}h{index}")
            self._join(name, "eth0", hub, f"p{index}")
            run("ip", "-n", hub, "link", "set", "dev", f"p{index}", "master", "br0")
            run("ip", "-n", name, "addr", "add", f"{net}.{index + 2}/24", "dev", "eth0")
            run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")
            if routed:
                run("ip", "-n", name, "route", "add", "default", "via", f"{net}.1")
            rate = origin_rate if origin_rate and not self.hosts else self.rate
            shape(name, "eth0", rate)
            shape(hub, f"p{index}", rate)
            self.hosts.append(Host(name, f"{net}.{index + 2}", number))
        if routed:
            self._join(core, f"to{number}", hub, "up")
            run("ip", "-n", hub, "link", "set", "dev", "up", "master", "br0")
            run("ip", "-n", core, "addr", "add", f"{net}.1/24", "dev", f"to{number}")
            shape(core, f"to{number}", self.line)
            shape(hub, "up", self.line)
            self.routers.append((core, f"to{number}"))

    @staticmethod
    def _join(one, one_device, other, other_device):
        run("ip", "-n", one, "link", "add", one_device, "type", "veth", "peer", "name", other_device, "netns", other)
        for name, device in ((one, one_device), (other, other_device)):
            run("ip", "-n", name, "link", "set", "dev", device, "mtu", "1500", "multicast", "on", "up")
            run("ip", "netns", "exec", name, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off")

    def crossed(self):
        """Bytes that crossed each site's line so far: [(out, in)]."""
        # What the router sends to a site goes in, what it receives from it came out.
        return [tuple(reversed(counters(core, device))) for core, device in self.routers]


def sysctl(namespace, name, value):
    """Set a kernel parameter of a namespace."""
    run("nsenter", f"--net=/run/netns/{namespace}", "sh", "-c", f"echo {value} > /proc/sys/{name}")


def shape(namespace, device, mbit):
    """Hold what leaves a device to so many Mbit/s."""
    if mbit:
        burst = max(16_000, int(mbit * 1e6 / 8 / 200))
        run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit",
            "burst", burst, "latency", QUEUE)
