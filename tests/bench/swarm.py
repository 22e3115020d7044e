"""The contestant: how the benchmark drives the swarm binary, by its command line contract alone."""

import json
import os
import re
import shlex
import signal
import urllib.parse

from netns import LOOPBACK
from procs import Failed
from yardsticks import finish, served

LINK = r"^swarm:\S+"


class Swarm:
    """The binary and how to call it. Every call has a home of its own, so that nothing is remembered between runs."""

    def __init__(self, bench):
        self.bench, self.binary, self.homes = bench, bench.options.swarm, {}

    def argv(self, home, *args, host=LOOPBACK, before=()):
        """The command line that runs it on a host: with mDNS, but not on loopback, where nothing is to be found."""
        quiet = ["--no-mdns"] if host is LOOPBACK else []
        return host.argv(self.binary, "--home", home, "--listen", f"/ip4/{host.address}/tcp/0", *quiet, *before, *args)

    def publish(self, path, host=LOOPBACK):
        """Start a seeder: the process, its link, the seconds from its start to the link."""
        home = self.bench.fresh("home")
        proc = self.bench.spawn("swarm-publish", self.argv(home, "publish", path, "--link", host=host), pipe=True)
        self.homes[proc] = home
        try:
            found, seconds = proc.line(LINK, self.bench.patience(1 << 30))
        except Failed:
            proc.stop()
            raise
        return proc, found.group(0), seconds

    def get(self, link, out, size, peers=(), host=LOOPBACK):
        """One download: the process, its seconds from start to exit, its CPU seconds."""
        before = [arg for peer in peers for arg in ("--peer", peer)] + ["--json"]
        home = self.bench.fresh("home")
        try:
            return finish(self.bench, "swarm-get", self.argv(home, "get", link, "-o", out, host=host, before=before),
                          self.bench.patience(size))
        finally:
            self.bench.remove(home)

    def stop(self, *seeders):
        """End seeders as the contract says, by SIGINT; not ending on it is an error."""
        stubborn = [seeder for seeder in seeders if not seeder.stop(signal.SIGINT)]
        self.bench.remove(*(self.homes[seeder] for seeder in seeders if seeder in self.homes))
        if stubborn:
            raise stubborn[0].failed("did not end within 10 s of SIGINT")

    def pair(self, source, size, seeders=1, hosts=(LOOPBACK, LOOPBACK)):
        """Publish `source` on so many seeders, get it once, compare; the sample, with the CPU of all seeders.

        The seeders are on the first of the hosts, the getter is on the second.
        """
        out, started, getter = self.bench.fresh("swarm-out"), [], []

        def get():
            getter.extend(self.get(link, out, size, peers, hosts[1]))
            return getter
        try:
            for _ in range(seeders):
                started.append(self.publish(source, hosts[0]))
            link, peers = started[0][1], [peer for _, other, _ in started[1:] for peer in link_peers(other)]
            sample = served(self.bench, size, [proc for proc, _, _ in started], get)
            self.bench.same(source, out)
            transfer = transfer_seconds(getter[0].output())
            if transfer:
                sample["transfer_mb_s"] = size / 1e6 / transfer
            return sample
        finally:
            self.stop(*(proc for proc, _, _ in started))
            self.bench.remove(out)

    def hash(self, source):
        """Seconds from the start of `publish` with an empty home to its link, which carries the id."""
        proc, _, seconds = self.publish(source)
        cpu = proc.cpu()
        self.stop(proc)
        return {"seconds": seconds, "cpu_s": cpu}


def link_peers(link):
    """The addresses in a link: its peer= parameters."""
    return [urllib.parse.unquote(peer) for peer in re.findall(r"[?&]peer=([^&\s]+)", link)]


def without_peers(link):
    """The link without its addresses, so that only mDNS can find the seeder."""
    return re.sub(r"([?&])peer=[^&\s]+&?", r"\1", link).rstrip("?&")


def transfer_seconds(text):
    """Returns the last `transfer_ms` or `transfer_seconds` in a getter's JSON lines, or None."""
    found = re.findall(r'"transfer_(ms|s|seconds)":\s*([\d.]+)', text)
    return float(found[-1][1]) / (1000 if found[-1][0] == "ms" else 1) if found else None


def calibrate(bench):
    """`target/release/calibrate`, the ceiling of our own transport on this machine: MB/s by name, from JSON or text."""
    proc = bench.call("calibrate", shlex.split(bench.options.calibrate), timeout=300)
    rates = {}
    for line in proc.output().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            match = re.search(r"^(.*?)[\s:=]*([\d.]+)\s*MB/s", line)
            if match:
                rates[match.group(1).strip() or "calibrate"] = float(match.group(2))
            continue
        for key, value in record.items() if isinstance(record, dict) else ():
            if re.fullmatch(r"(?i).*mb(_per|/)?_?s(ec(ond)?)?", key) and isinstance(value, (int, float)):
                rates[str(record.get("name") or record.get("row") or key)] = float(value)
    if not rates:
        raise Failed(f"calibrate: no MB/s in its output: {proc.output()[:200]!r}")
    return rates


def exists(binary):
    """Returns whether the binary is there to run."""
    return os.access(binary, os.X_OK) and os.path.isfile(binary)
