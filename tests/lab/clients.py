"""Who is measured: a client publishes a file on one host and fetches it on all others, by its own command line."""

import os
import re
import select
import time


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


CLIENTS = {Swarm.name: Swarm}


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
