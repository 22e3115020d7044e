"""Hosts on one machine: network namespaces on a bridge, each with a shaped link, and sites joined by a thin line.

Names carry the pid of this script; everything is removed at the end. Shaping is TBF, both ways, with queues of 50 ms
and MTU 1500, and offloads are off, so that what is shaped are the packets a real wire carries. The queues stay 50 ms
long at any distance, and the sizes of socket buffers are the machine's, for all alike.

With a round-trip time or loss (wires.py) there is a wire in the link of each host, or, where there are sites, in the
line of each: any two hosts, or sites, are the whole time apart, and a frame between them passes one wire.
"""

import ctypes
import os
import subprocess

import netns
import wires
from procs import Failed

QUEUE = "50ms"


def run(*argv):
    """Run a command. Raises Failed with its message if it fails."""
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


class Counters:
    """Counters of the devices of a namespace: /proc/net/dev, held open.

    Reading it again takes microseconds, where `ip -s` would start a program that competes with those measured.
    """

    def __init__(self, namespace):
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net", "rb") as here, open(f"/run/netns/{namespace}", "rb") as there:
            if libc.setns(there.fileno(), 0):
                raise Failed(f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")
            try:
                self.file = open("/proc/thread-self/net/dev", "rb", buffering=0)
            finally:
                libc.setns(here.fileno(), 0)

    def read(self):
        """Returns for each device (bytes in, packets in, bytes out, packets out), with all headers."""
        self.file.seek(0)
        lines = self.file.readall().decode().splitlines()[2:]
        found = {}
        for line in lines:
            name, _, numbers = line.partition(":")
            numbers = numbers.split()
            found[name.strip()] = tuple(int(numbers[i]) for i in (0, 1, 8, 9))
        return found


class Host(netns.Host):
    """One host: its namespace, its address, its site, and the port of the bridge where its link ends."""

    def __init__(self, name, address, site, port):
        super().__init__(name, address)
        self.site, self.port = site, port


class Network:
    """`sites` is how many hosts each site has; the first host is the origin.

    `rtt` (ms) and `loss` (percent, in each direction) hold between any two hosts, or between any two sites.
    """

    def __init__(self, lab, sites, rate, line=None, congestion=None, rtt=0, loss=0, seed=1):
        self.lab, self.rate, self.line, self.hosts, self.routers, self.hubs = lab, rate, line, [], [], []
        self.congestion, self.wires = congestion, None
        self.prefix = f"swl{lab.pid}"
        core = self._namespace("core")
        if rtt or loss:
            middle = self._namespace("wires")
            sysctl(middle, "net/ipv6/conf/all/disable_ipv6", 1, optional=True)
            sysctl(middle, "net/ipv6/conf/default/disable_ipv6", 1, optional=True)
            self.wires = wires.Wires(lab, middle, rtt, loss, seed)
        if len(sites) > 1:
            sysctl(core, "net/ipv4/ip_forward", "1")
        for number, count in enumerate(sites):
            self._site(core, number, count, len(sites) > 1)
        if self.wires:
            self.wires.start()
        self.core, self.origin = Counters(core), Counters(self.hosts[0].name)

    def _namespace(self, name):
        full = f"{self.prefix}-{name}"
        self.lab.undo.append(lambda: subprocess.run(["ip", "netns", "del", full], capture_output=True, check=False))
        run("ip", "netns", "add", full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def _site(self, core, number, count, routed):
        hub = self._namespace(f"hub{number}")
        run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        # Where the machine lets a firewall see what bridges carry, this one need not: an office switch has none.
        for kind in ("iptables", "ip6tables", "arptables"):
            sysctl(hub, f"net/bridge/bridge-nf-call-{kind}", 0, optional=True)
        run("ip", "-n", hub, "link", "set", "br0", "up")
        net = f"10.77.{number + 1}"
        for index in range(count):
            name = self._namespace(f"s{number}h{index}")
            self._connect(hub, f"p{index}", name, "eth0", self.rate, not routed)
            run("ip", "-n", hub, "link", "set", "dev", f"p{index}", "master", "br0")
            run("ip", "-n", name, "link", "set", "dev", "eth0", "address", mac(number, index + 2))
            run("ip", "-n", name, "addr", "add", f"{net}.{index + 2}/24", "dev", "eth0")
            run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")
            if self.wires:
                # Values that TCP remembers of a path would help, or hinder, the next client on the same network.
                sysctl(name, "net/ipv4/tcp_no_metrics_save", 1)
            # By the routes: the parameter of a namespace takes only controls that the machine allows to all users.
            control = ["congctl", self.congestion] if self.congestion else []
            run("ip", "-n", name, "route", "replace", f"{net}.0/24", "dev", "eth0", "proto", "kernel", "scope", "link",
                "src", f"{net}.{index + 2}", *control)
            if routed:
                run("ip", "-n", name, "route", "add", "default", "via", f"{net}.1", *control)
            shape(name, "eth0", self.rate)
            shape(hub, f"p{index}", self.rate)
            self.hosts.append(Host(name, f"{net}.{index + 2}", number, f"p{index}"))
        self.hubs.append(Counters(hub))
        if routed:
            self._connect(core, f"to{number}", hub, "up", self.line, True)
            run("ip", "-n", hub, "link", "set", "dev", "up", "master", "br0")
            run("ip", "-n", core, "addr", "add", f"{net}.1/24", "dev", f"to{number}")
            shape(core, f"to{number}", self.line)
            shape(hub, "up", self.line)
            run("ip", "-n", core, "link", "set", "dev", f"to{number}", "address", mac(number, 1))
            self.routers.append(f"to{number}")
            know(core, f"to{number}", number, range(2, count + 2))
        for index in range(count):
            others = [last for last in range(1 if routed else 2, count + 2) if last != index + 2]
            know(f"{self.prefix}-s{number}h{index}", "eth0", number, others)

    def _connect(self, near, near_device, far, far_device, mbit, wired):
        """Join two namespaces by a link of so many Mbit/s, with a wire towards `far` where this one is to have it.

        What comes back is passed on by the kernel, which drops what the wire has taken: it is for no address of its.
        """
        if not self.wires or not wired:
            self._join(near, near_device, far, far_device)
            return
        middle, number = self.wires.namespace, len(self.wires.specs)
        one, other = f"n{number}", f"f{number}"
        self._join(near, near_device, middle, one)
        self._join(middle, other, far, far_device)
        run("tc", "-n", middle, "qdisc", "add", "dev", other, "ingress")
        run("tc", "-n", middle, "filter", "add", "dev", other, "parent", "ffff:", "protocol", "all", "u32",
            "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", one)
        self.wires.lay(one, other, mbit)

    def _join(self, one, one_device, other, other_device):
        run("ip", "-n", one, "link", "add", one_device, "type", "veth", "peer", "name", other_device, "netns", other)
        # A wire carries finished frames only. Without wires no end ever checks a checksum.
        offloads = ["tso", "gso", "gro", *(["tx"] if self.wires else [])]
        switches = [word for offload in offloads for word in (offload, "off")]
        for name, device in ((one, one_device), (other, other_device)):
            run("ip", "-n", name, "link", "set", "dev", device, "mtu", "1500", "multicast", "on", "up")
            run("ip", "netns", "exec", name, "ethtool", "-K", device, *switches)

    def end(self):
        """End the wires. Returns their counters, or None without wires."""
        return self.wires.end() if self.wires else None

    def left_origin(self):
        """Returns the bytes on the wire that have left the origin so far."""
        return self.origin.read()["eth0"][2]

    def reached(self):
        """Returns the traffic that has reached each host so far: [(bytes, packets)]."""
        hubs = [hub.read() for hub in self.hubs]
        return [hubs[host.site][host.port][2:] for host in self.hosts]

    def crossed(self):
        """Returns the bytes that crossed each site's line so far: [(out, in)]."""
        devices = self.core.read()
        # Bytes that the router receives from a site came out of it; bytes that it sends to the site go in.
        return [(devices[name][0], devices[name][2]) for name in self.routers]


def mac(site, last):
    """Returns the link address of the host whose address ends like this."""
    return f"02:77:00:00:{site + 1:02x}:{last:02x}"


def know(namespace, device, site, lasts):
    """Tell a namespace the link addresses of its neighbours.

    The kernel keeps what ARP learns of all namespaces in one table of 1,024 entries: a hundred hosts that know each
    other would need ten times that, and lose packets. Permanent entries do not count.
    """
    lines = [f"neigh replace 10.77.{site + 1}.{last} lladdr {mac(site, last)} dev {device} nud permanent\n"
             for last in lasts]
    done = subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="".join(lines), capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise Failed(f"neighbours of {namespace}: {done.stderr.strip()}")


def sysctl(namespace, name, value, optional=False):
    """Set a kernel parameter of a namespace; one that is `optional` may be absent."""
    path = f"/proc/sys/{name}"
    guard = f"[ ! -e {path} ] || " if optional else ""
    run("nsenter", f"--net=/run/netns/{namespace}", "sh", "-c", f"{guard}echo {value} > {path}")


def shape(namespace, device, mbit):
    """Limit the traffic that leaves a device to this many Mbit/s."""
    if mbit:
        burst = max(16_000, int(mbit * 1e6 / 8 / 200))
        run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit",
            "burst", burst, "latency", QUEUE)
