"""One run of one row with one client: start, watch, kill, count."""

import os
import random
import selectors
import signal
import statistics
import time

import clients
import net
import procs

# Bytes of frame, IP and TCP (with time stamps) around the payload of a packet, and the payload at most.
HEADERS, PAYLOAD = 66, 1448
TICK, MEMORY_EVERY = 0.015, 1.0


def bound(row):
    """Returns the seconds that no client can beat: the slowest link the whole file crosses (Kumar and Ross 2006)."""
    bits = row["size"] * (1 << 20) * 8
    n = row["hosts"] if "hosts" in row else sum(row["sites"])
    rate = row["rate"] * 1e6
    return max(bits / rate, n * bits / ((n + 1) * rate), bits / (row["line"] * 1e6) if row.get("line") else 0)


def network(lab, row):
    """Returns the hosts of a row, the origin first."""
    sites = row.get("sites", [row.get("hosts")])
    return net.Network(lab, [sites[0] + 1, *sites[1:]], row["rate"], row.get("line"),
                       congestion=row.get("congestion", lab.options.congestion), rtt=row.get("rtt", 0),
                       loss=row.get("loss", 0), seed=lab.options.seed)


def machine():
    """Returns (idle, all) ticks of all processors of the machine since it started."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def idle_share(before):
    """Returns the idle share of the processors' time since then."""
    idle, everything = (now - was for now, was in zip(machine(), before))
    return idle / max(everything, 1)


def user_seconds(pid):
    """Returns the CPU seconds that a process spent outside the kernel."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return int(stat.read().rpartition(")")[2].split()[11]) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Reads the output of the getters, and notes when each reports its first part, and its end."""

    def __init__(self, client, keep):
        self.client, self.keep, self.selector = client, keep, selectors.EpollSelector()
        self.waiting = set()

    def add(self, getter):
        """Watch a process that was just started, and forget the one before it."""
        getter.text = getter.proc.unread
        self.selector.register(getter.proc.popen.stdout, selectors.EVENT_READ, getter)
        if getter.done is None:
            self.waiting.add(getter)

    def drop(self, getter):
        """Forget a process that ends."""
        try:
            self.selector.unregister(getter.proc.popen.stdout)
        except (KeyError, ValueError):
            pass  # it had closed its output already

    def poll(self, seconds):
        """Wait up to `seconds` for news."""
        for key, _ in self.selector.select(seconds):
            getter, data = key.data, os.read(key.fd, 1 << 16)
            now = time.perf_counter()
            if not data:
                self.selector.unregister(key.fileobj)
                self.waiting.discard(getter)
                continue
            if self.keep:
                with open(getter.proc.out_path, "ab") as log:
                    log.write(data)
            getter.text = getter.text[-400:] + data
            if getter.first is None and self.client.first and self.client.first.search(getter.text):
                getter.first = now
            if getter.done is None and self.client.done.search(getter.text):
                getter.done = now
                getter.text = getter.text[-400:]
                self.waiting.discard(getter)

    def close(self):
        """Give the descriptor back."""
        self.selector.close()


class Run:
    """One run."""

    def __init__(self, lab, row, client, seed):
        self.lab, self.row, self.client = lab, row, client(lab)
        lab.worth_keeping = True
        self.random, self.size = random.Random(seed), int(row["size"] * (1 << 20))
        self.bound, self.network = bound(row), network(lab, row)
        os.mkdir(lab.path("source"))
        self.source = lab.path(f"source/{clients.NAME}")
        with open(self.source, "wb") as file:
            file.write(self.random.randbytes(self.size))
        self.watch = Watch(self.client, lab.options.keep)
        self.peak, self.sampled, self.origin_died, self.killed = 0.0, 0.0, None, []
        self.origin, self.died_cpu = None, 0.0

    def measure(self):
        """Run it. Returns a dict of figures."""
        origin_host, hosts = self.network.hosts[0], self.network.hosts[1:]
        self.origin = self.client.publish(origin_host, self.source)
        getters = [clients.Getter(host, self.lab.fresh("get")) for host in hosts]
        for getter in getters:
            os.mkdir(getter.folder)
        if self.client.waits:
            self._start(getters)
        wires = self.network.wires
        before, own, start = self._wire(), time.process_time(), time.perf_counter()
        carried = wires.cpu() if wires else 0.0
        if self.client.waits:
            for getter in getters:
                self.client.go(getter)
        else:
            self._start(getters)
        self._follow(getters, start, before["origin"])
        seconds = time.perf_counter() - start
        own, idle = time.process_time() - own, idle_share(before["machine"])
        wires_cpu = wires.cpu() - carried if wires else 0.0
        ours = own + wires_cpu + (self.origin.cpu() or self.died_cpu) + sum(getter.cpu() for getter in getters)
        figures = self._figures(getters, start, before, self._wire())
        # The idle share of the processors (if none, they are the limit, not the links), the share that went to
        # others than the nodes and us (the kernel's own threads, or somebody else on the machine), and of one, to us.
        others = 1 - idle - ours / (seconds * os.cpu_count())
        figures.update(idle=round(idle, 3), others=round(others, 3), lab_cpu=round(own / seconds, 3),
                       wire_cpu=round(wires_cpu / seconds, 3) if wires else None, wire=self.network.end())
        self._end(getters)
        return figures

    def _start(self, getters):
        for getter in getters:
            getter.proc = self.client.start(getter, False)
        for getter in getters:
            if self.client.waits:
                self.client.ready(getter)
            self.watch.add(getter)

    def _wire(self):
        return {"origin": self.network.left_origin(), "hosts": self.network.reached()[1:],
                "lines": self.network.crossed(), "machine": machine()}

    def _follow(self, getters, start, origin_before):
        """Wait until all getters have the file, or have ended, or too much time has passed."""
        kills = self._kills(getters, start)
        deadline, limit = start + 60 + 10 * self.bound, self.row.get("origin_dies")
        while self.watch.waiting or kills:
            self.watch.poll(TICK)
            now = time.perf_counter()
            if now > deadline:
                break
            for getter in [getter for getter, at in kills.items() if at <= now]:
                del kills[getter]
                if getter.done is None:
                    self._restart(getter, now - start)
            if limit and self.origin_died is None:
                if self.network.left_origin() - origin_before >= limit * self.size:
                    self.origin_died = now - start
                    self.died_cpu = self.origin.cpu()
                    self._kill(self.origin)
            if now - self.sampled >= MEMORY_EVERY:
                self._sample(getters, now)
            # News is taken in batches: this script competes with those it measures.
            time.sleep(TICK)
        self._sample(getters, time.perf_counter())

    def _kills(self, getters, start):
        """Returns the getters to kill, and when: within the time that the bound allows."""
        some = self.random.sample(getters, self.row.get("kill") or 0)
        return {getter: start + self.random.uniform(0.15, 0.85) * self.bound for getter in some}

    @staticmethod
    def _kill(proc):
        proc.stop(signal.SIGKILL)

    def _restart(self, getter, at):
        """Kill a getter and run its command again."""
        self.watch.drop(getter)
        getter.spent = getter.cpu()
        self._kill(getter.proc)
        self.killed.append([getter.host.address, round(at, 2)])
        getter.restarts += 1
        getter.proc = self.client.start(getter, True)
        self.watch.add(getter)

    def _sample(self, getters, now):
        """Returns the memory without file pages of the largest getter."""
        self.sampled = now
        self.peak = max([self.peak] + [procs.status_mib(getter.proc.pid, "RssAnon") for getter in getters])

    def _figures(self, getters, start, before, after):
        row, size, many = self.row, self.size, len(getters)
        done = sorted(getter.done - start for getter in getters if getter.done)
        first = [getter.first - start for getter in getters if getter.first]
        wire = [(now[0] - was[0], now[1] - was[1]) for now, was in zip(after["hosts"], before["hosts"])]
        came, packets = (sum(column) for column in zip(*wire))
        cpu, payloads = sum(getter.cpu() for getter in getters), [self.client.payload(getter) for getter in getters]
        payload = None if None in payloads or len(done) < many else sum(payloads)
        user = None if self.killed else sum(user_seconds(getter.proc.pid) for getter in getters if getter.proc.alive())
        return {
            "row": row["name"], "client": self.client.name, "rtt_ms": row.get("rtt", 0), "loss": row.get("loss", 0),
            "congestion": row.get("congestion", self.lab.options.congestion), "hosts": many, "completed": len(done),
            "missing": many - len(done), "bound_s": round(self.bound, 3),
            "slowest": round(done[-1] / self.bound, 3) if len(done) == many else None,
            "median": round(statistics.median(done) / self.bound, 3) if done else None,
            "first_s": round(max(first), 2) if len(first) == many else None,
            "origin_wire": round((after["origin"] - before["origin"]) / size, 3),
            "lines": [[round((now - was) / size, 3) for now, was in zip(*pair)]
                      for pair in zip(after["lines"], before["lines"])],
            "line_in": max((round((now[1] - was[1]) / size, 3)
                            for now, was in list(zip(after["lines"], before["lines"]))[1:]), default=None),
            "cpu_s_per_gb": round(cpu / many / (size / 1e9), 2),
            "cpu_user_s_per_gb": None if user is None else round(user / many / (size / 1e9), 2),
            "anonymous_mib": round(self.peak, 1),
            # Of what came to the getters: all bytes over those of the file, packets for each 64 KiB of it; then what
            # is neither the file nor headers, per GB delivered (records, requests, announcements and what was sent
            # again), and packets beyond the fewest the file takes (acknowledgements too).
            "overhead": round(came / (many * size) - 1, 4), "packets": round(packets / (many * size / 65536), 1),
            "payload": None if payload is None else round(payload / (many * size), 4),
            "control_mb_gb": None if payload is None else round(
                (came - HEADERS * packets - payload) / (many * size) * 1000, 2),
            "control_packets_gb": round((packets - many * size / PAYLOAD) / (many * size / 1e9)),
            "killed": self.killed, "origin_died_s": round(self.origin_died, 2) if self.origin_died else None,
        }

    def _end(self, getters):
        """Report failures, end all processes, and compare the files of the getters that report success."""
        for getter in getters:
            if not getter.done:
                self.lab.say(f"  {getter.host.address} did not complete; it was started {getter.restarts + 1} times")
                if getter.proc.alive():
                    self.client.explain(getter)
                else:
                    self.lab.say(f"  {getter.proc.failed(f'exit code {getter.proc.code}')}")
        self.watch.close()
        self.lab.kill()
        for getter in getters:
            if getter.done:
                self.lab.same(self.source, getter.file)
            self.lab.remove(getter.folder)
