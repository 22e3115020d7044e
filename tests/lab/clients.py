"""The programs that are measured. Each publishes a file on one host and fetches it on all others."""

import json
import os
import re
import shutil
import signal
import sys

import procs
import yardsticks

HERE = os.path.dirname(os.path.realpath(__file__))
NAME = "file.bin"


class Getter:
    """One host that fetches the file: its folder, the process that works in it now, and its results."""

    def __init__(self, host, folder):
        self.host, self.folder = host, folder
        self.proc, self.text, self.first, self.done, self.restarts = None, b"", None, None, 0
        self.spent, self.idle = 0.0, 0.0  # CPU of those that were killed; what a start is not charged

    @property
    def file(self):
        """Returns the destination of the file, also after a restart."""
        return os.path.join(self.folder, NAME)

    def cpu(self):
        """Returns the CPU seconds so far, those of killed processes included."""
        return self.spent + self.proc.cpu() - self.idle


class Client:
    """Base of all clients. `first` and `done` match the lines in which a getter reports its first part, or its end."""

    first = None
    waits = False  # Whether a getter starts and then waits for `go`; else its start counts.

    def __init__(self, lab):
        self.lab = lab

    def payload(self, getter):
        """Returns the bytes of the file that a getter received, with duplicates; None if the client does not tell."""

    def explain(self, getter):
        """Write to the log why a getter hangs."""


class Swarm(Client):
    """swarm."""

    name = "swarm"
    done = re.compile(rb'"event":"done"')
    # Progress is printed at most every 200 ms, so that the first chunk is seen up to 200 ms late.
    first = re.compile(rb'"event":"progress","done":[1-9]')

    def __init__(self, lab):
        super().__init__(lab)
        self.binary, self.link = lab.options.swarm, None

    def missing(self):
        """Returns the reason why the client cannot be run here, or None."""
        return None if shutil.which(self.binary) else f"{self.binary} is no program: build it, or name one by --swarm"

    def _argv(self, host, home, *args):
        return host.argv(self.binary, "--home", home, "--listen", f"/ip4/{host.address}/tcp/0", *args)

    def publish(self, host, source):
        """Start the origin."""
        argv = self._argv(host, self.lab.fresh("home"), "publish", source, "--link")
        proc = self.lab.spawn("origin", argv, pipe=True)
        self.link = proc.line(r"^swarm:\S+", 120)[0].group(0)
        return proc

    def start(self, getter, again):
        """Start a getter. After a kill it is the same command, in the same home, to the same path."""
        home = os.path.join(getter.folder, "home")
        return self.lab.spawn(name_of(getter), self._argv(getter.host, home, "--json", "get", self.link,
                                                          "-o", getter.file, "--seed"), pipe=True)

    def _ask(self, getter, what):
        home = os.path.join(getter.folder, "home")
        asked = self.lab.call(f"{what}-{getter.host.name}", [self.binary, "--home", home, "--json", what], 20)
        return json.loads(asked.output().splitlines()[0])

    def payload(self, getter):
        """Returns the counter of `status`, which starts anew with each process."""
        try:
            return None if getter.restarts else self._ask(getter, "status")["downloaded"]
        except (procs.Failed, ValueError, LookupError):
            return None

    def explain(self, getter):
        """Write `status` and `peers` of the node to the log."""
        for what in ("status", "peers"):
            try:
                self._ask(getter, what)
            except (procs.Failed, ValueError, LookupError) as error:
                self.lab.say(f"  {getter.host.name}: {what}: {error}")


class Torrent(Client):
    """Base of the BitTorrent clients: a torrent and a tracker, which runs on the origin's host.

    Pieces are as long as the chunks of swarm, 64 KiB: with the 128 KiB that libtorrent would choose for 64 MiB
    (`--piece 0`) both clients took longer.
    """

    port = 6969

    def __init__(self, lab):
        super().__init__(lab)
        self.torrent, self.tracker = lab.path("file.torrent"), None

    def publish(self, host, source):
        """Start the tracker and the origin; it is up once the tracker knows it."""
        piece = int(self.lab.options.piece * 1024)
        self.lab.call("torrent", yardsticks.lt_peer("make", source, self.torrent, str(piece)))
        argv = [sys.executable, "-B", os.path.join(HERE, "tracker.py"), host.address, str(self.port)]
        tracker = self.lab.spawn("tracker", host.argv(*argv), pipe=True)
        tracker.line("^ready", 20)
        self.tracker = f"http://{host.address}:{self.port}/announce"
        proc = self.lab.spawn("origin", host.argv(*self.seeder(host, os.path.dirname(source))))
        tracker.line(f"^peer {host.address} ", 30)
        return proc


class Libtorrent(Torrent):
    """libtorrent 2.0, by bt_peer.py."""

    name = "libtorrent"
    done, first, waits = re.compile(rb"^done (\d+)", re.M), re.compile(rb"^(first|done)", re.M), True

    def missing(self):
        """Returns the reason why the client cannot be run here, or None."""
        try:
            self.lab.call("import", [yardsticks.SYSTEM_PYTHON, "-c", "import libtorrent"])
        except procs.Failed:
            return "python3-libtorrent is not installed: --install"
        return None

    def _argv(self, *args):
        return [yardsticks.SYSTEM_PYTHON, "-B", os.path.join(HERE, "bt_peer.py"), *args]

    def seeder(self, host, folder):
        """Returns the command line of the origin."""
        return self._argv("seed", self.torrent, folder, host.address, self.tracker)

    def start(self, getter, again):
        """Start a getter. It waits for the clock, but not after a kill."""
        argv = self._argv("leech", self.torrent, getter.folder, getter.host.address, self.tracker,
                          *(["now"] if again else []))
        return self.lab.spawn(name_of(getter), getter.host.argv(*argv), pipe=True)

    def ready(self, getter):
        """Wait until Python and the library are loaded; that time does not count."""
        getter.proc.line("^ready", 60)
        getter.idle = getter.proc.cpu()

    def go(self, getter):
        """Start the clock."""
        os.kill(getter.proc.pid, signal.SIGUSR1)

    def payload(self, getter):
        """Returns the count that the getter printed when it was done."""
        found = self.done.search(getter.text)
        return int(found.group(1)) if found and not getter.restarts else None


class Aria2(Torrent):
    """aria2. It announces its end through a hook; when its first piece is whole it does not tell."""

    name = "aria2"
    done = re.compile(rb"^[0-9a-f]{16} 1 /", re.M)

    def missing(self):
        """Returns the reason why the client cannot be run here, or None."""
        return None if shutil.which("aria2c") else "aria2 is not installed: --install"

    def _argv(self, folder, *args):
        return ["aria2c", "--no-conf", "--quiet", f"--dir={folder}", f"--bt-tracker={self.tracker}", "--no-proxy=*",
                "--bt-tracker-interval=5", "--listen-port=6881", "--bt-max-peers=0", "--max-overall-upload-limit=0",
                "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6=true",
                "--file-allocation=none", "--seed-ratio=0.0", "--check-integrity=true", *args, self.torrent]

    def seeder(self, _host, folder):
        """Returns the command line of the origin."""
        return self._argv(folder)

    def start(self, getter, again):
        """Start a getter. After a kill it checks by hash what it has: its own list is saved once a minute."""
        hook = ["--on-bt-download-complete=/bin/echo"]
        return self.lab.spawn(name_of(getter), getter.host.argv(*self._argv(getter.folder, *hook)), pipe=True)


def name_of(getter):
    """Returns the name of a getter's process in the log."""
    return f"get-{getter.host.name}"


CLIENTS = {client.name: client for client in (Swarm, Libtorrent, Aria2)}
