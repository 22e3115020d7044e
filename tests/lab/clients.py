"""Who is measured: each client publishes a file on one host and fetches it on all others, by its own command line."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time

from procs import Failed

HERE = os.path.dirname(os.path.realpath(__file__))
SYSTEM_PYTHON = "/usr/bin/python3"


class Swarm:
    """Our binary."""

    name = "swarm"

    def __init__(self, lab):
        self.lab, self.binary = lab, lab.options.swarm

    def _argv(self, host, home, *args):
        return host.argv(self.binary, "--home", home, "--listen", f"/ip4/{host.address}/tcp/0", "--json", *args)

    def publish(self, host, source):
        """Start the origin: the process and what others need to find it."""
        home = self.lab.fresh("home")
        argv = [arg for arg in self._argv(host, home, "publish", source, "--link") if arg != "--json"]
        proc = self.lab.spawn("origin", argv, pipe=True)
        return proc, proc.line(r"^swarm:\S+", 120)[0].group(0)

    def get(self, host, link, out, home=None):
        """Start a getter that goes on sharing. Its standard output says when it is done."""
        home = home or self.lab.fresh("home")
        proc = self.lab.spawn("get", self._argv(host, home, "get", link, "-o", out, "--seed", "--overwrite"), pipe=True)
        proc.home = home
        return proc

    done = re.compile(rb'"type":\s*"done"|"done":\s*\{|"event":\s*"done"')
    first = re.compile(rb'"done":\s*[1-9]')


class Libtorrent:
    """libtorrent 2.0 with its defaults, local discovery off: the origin is named, peer exchange finds the others."""

    name = "libtorrent"

    def __init__(self, lab):
        self.lab = lab

    def _argv(self, host, *args):
        return host.argv(SYSTEM_PYTHON, os.path.join(HERE, "lt_node.py"), host.address, *args)

    def publish(self, host, source):
        torrent = self.lab.fresh("torrent")
        self.lab.call("make", [SYSTEM_PYTHON, os.path.join(HERE, "lt_node.py"), "-", "make", source, torrent])
        proc = self.lab.spawn("origin", self._argv(host, "seed", torrent, os.path.dirname(source)), pipe=True)
        proc.line(r"^ready", 60)
        return proc, (torrent, host.address)

    def get(self, host, link, out, home=None):
        torrent, origin = link
        folder = home or self.lab.fresh("home")
        os.makedirs(folder, exist_ok=True)
        proc = self.lab.spawn("get", self._argv(host, "leech", torrent, folder, origin, out), pipe=True)
        proc.home = folder
        return proc

    done = re.compile(rb"^done", re.M)
    first = re.compile(rb"^first", re.M)


class Aria2:
    """aria2 with its defaults and a tracker on the origin's host."""

    name = "aria2"

    def __init__(self, lab):
        self.lab = lab

    def publish(self, host, source):
        torrent = self.lab.fresh("torrent")
        url = f"http://{host.address}:6969/announce"
        self.lab.call("make", [SYSTEM_PYTHON, os.path.join(HERE, "lt_node.py"), "-", "make", source, torrent, url])
        tracker = self.lab.spawn("tracker", host.argv(sys.executable, os.path.join(HERE, "tracker.py"), host.address),
                                 pipe=True)
        tracker.line(r"^ready", 20)
        proc = self.lab.spawn("origin", self._argv(host, torrent, os.path.dirname(source), "--check-integrity=true"))
        proc.helpers = [tracker]
        return proc, torrent

    def _argv(self, host, torrent, folder, *more):
        return host.argv("aria2c", "--no-conf", "--enable-dht=false", "--bt-enable-lpd=false", "--seed-ratio=0.0",
                         "--file-allocation=none", "--console-log-level=error", "--summary-interval=1",
                         "--listen-port=6881-6999", "--bt-hash-check-seed=true", "-d", folder, *more, torrent)

    def get(self, host, link, out, home=None):
        folder = home or self.lab.fresh("home")
        os.makedirs(folder, exist_ok=True)
        hook = os.path.join(folder, "hook")
        with open(hook, "w", encoding="ascii") as script:
            script.write(f"#!/bin/sh\nln -f \"$3\" '{out}' 2>/dev/null || cp \"$3\" '{out}'\necho done >'{out}.done'\n")
        os.chmod(hook, 0o755)
        proc = self.lab.spawn("get", self._argv(host, link, folder, f"--on-bt-download-complete={hook}"))
        proc.home, proc.flag = folder, out + ".done"
        return proc


CLIENTS = {client.name: client for client in (Swarm, Libtorrent, Aria2)}


class Watch:
    """Reads what many processes print, and notes when each says that it is done."""

    def __init__(self, client):
        self.client, self.text, self.finished, self.first = client, {}, {}, {}

    def poll(self, procs, seconds):
        """Wait up to `seconds` for news."""
        fds = {proc.popen.stdout.fileno(): proc for proc in procs if proc.popen.stdout and proc.usage is None}
        ready = select.select(list(fds), [], [], seconds)[0] if fds else time.sleep(seconds) or []
        now = time.perf_counter()
        for fd in ready:
            proc = fds[fd]
            data = os.read(fd, 1 << 16)
            text = self.text.get(proc, b"")[-200:] + data
            self.text[proc] = text
            if proc not in self.first and self.client.first.search(text):
                self.first[proc] = now
            if proc not in self.finished and self.client.done.search(text):
                self.finished[proc] = now
        for proc in procs:
            flag = getattr(proc, "flag", None)
            if flag and proc not in self.finished and os.path.exists(flag):
                self.finished[proc] = now
