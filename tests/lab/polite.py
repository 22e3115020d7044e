"""Measures whether a node keeps its limits, and whether it gives way to other traffic in the background.

Each figure is a whole process measured on hosts of its own. What stands in front is a plain TCP transfer (it takes what
TCP takes), or a loop that counts on the processor that the node runs on.
"""

import json
import os
import sys
import time

import caps
import net

LINK, FAST, SECONDS, LIMIT = 50, 200, 10, 2 << 20
COUNT = "import time\nn,e=0,time.perf_counter()+{0}\nwhile time.perf_counter()<e: n+=1\nprint(n)"


class Polite:
    """One network with a publisher, a getter and another host."""

    def __init__(self, lab, rate):
        lab.worth_keeping = True
        self.lab, self.network = lab, net.Network(lab, [3], rate)
        self.origin, self.getter, self.other = self.network.hosts

    def argv(self, host, *args):
        """Start swarm on a host, in a home of its own."""
        return host.argv(self.lab.options.swarm, "--home", self.lab.fresh("home"), "--no-mdns",
                         "--listen", f"/ip4/{host.address}/tcp/0", *args)

    def publish(self, mib, *flags):
        """Start a publisher of this many MiB. Returns its process and the link."""
        source = self.lab.fresh("source")
        with open(source, "wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))
        proc = self.lab.spawn("publish", self.argv(self.origin, *flags, "publish", source, "--link"), pipe=True)
        return proc, proc.line(r"^swarm:\S+", 120)[0].group(0)

    def get(self, link, *flags):
        """Start a getter. Returns its process."""
        out = self.lab.fresh("got")
        return self.lab.spawn("get", self.argv(self.getter, *flags, "--json", "get", link, "-o", out), pipe=True)

    def rate(self, proc, seconds):
        """Returns a getter's bytes per second over the next seconds, after a moment of warming up."""
        def progress():
            found, at = proc.line(r'"event":"progress","done":(\d+)', 60)
            return int(found.group(1)), at
        start = progress()
        while start[0] == 0:
            start = progress()
        warm = start[1] + 2
        while start[1] < warm:
            start = progress()
        end = progress()
        while end[1] < start[1] + seconds:
            end = progress()
        return (end[0] - start[0]) / (end[1] - start[1])

    def foreground(self, sender, receiver):
        """Returns the Mbit/s of a plain TCP transfer."""
        control = [self.lab.options.congestion] if self.lab.options.congestion else []
        argv = sender.argv(*caps.bulk("send", sender.address, caps.PORT, *control))
        server = self.lab.spawn("tcp-send", argv, pipe=True)
        try:
            server.line("^ready", 20)
            argv = receiver.argv(*caps.bulk("receive", sender.address, caps.PORT, SECONDS))
            call = self.lab.call("tcp-receive", argv, 60)
            got = json.loads(call.output())
            return got["bytes"] * 8 / got["seconds"] / 1e6
        finally:
            server.stop()


def tell(figure, value, target, good):
    """Print one line of JSON for a figure."""
    line = {"row": "polite", "figure": figure, "value": round(value, 4), "target": target, "ok": bool(good)}
    print(json.dumps(line), flush=True)


def held(lab, name, giver, taker):
    """Measure a rate against its limit."""
    polite = Polite(lab, FAST)
    _, link = polite.publish(64, *giver)
    met = polite.rate(polite.get(link, *taker), SECONDS) / LIMIT
    tell(f"{name}: rate / limit", met, "0.95..1.05", 0.95 <= met <= 1.05)


def free(lab):
    """Measure the rate with `--no-limit-lan`."""
    polite = Polite(lab, FAST)
    _, link = polite.publish(64, "--limit-up", "2M", "--no-limit-lan")
    start = time.perf_counter()
    polite.get(link).wait(60)
    rate = (64 << 20) / (time.perf_counter() - start) / LIMIT
    tell("--limit-up 2M --no-limit-lan in one subnet: rate / limit", rate, ">=5", rate >= 5)


def beside(lab, way, flags):
    """Measure the share that a plain TCP transfer keeps beside a node, and the node's share of an idle link."""
    polite = Polite(lab, LINK)
    pair = (polite.other, polite.getter) if way == "down" else (polite.origin, polite.other)
    alone = polite.foreground(*pair)
    _, link = polite.publish(250, *(flags if way == "up" else []))
    getter = polite.get(link, *(flags if way == "down" else []))
    own = polite.rate(getter, SECONDS) * 8 / 1e6 / (LINK * caps.PAYLOAD / caps.PACKET)
    share = polite.foreground(*pair) / alone
    name = f"{' '.join(flags) or 'plain'}, {way}"
    tell(f"{name}: share of an idle link", own, "", True)
    tell(f"{name}: foreground beside it / alone", share, ">=0.90" if flags else "", not flags or share >= 0.9)


def processor(lab, flags):
    """Measure the share that a loop keeps on the processor that a getter runs on."""
    polite = Polite(lab, None)
    count = ["taskset", "-c", "0", sys.executable, "-c", COUNT.format(3)]
    alone = int(lab.call("count", count, 30).output())
    _, link = polite.publish(3072)
    argv = polite.argv(polite.getter, *flags, "--json", "get", link, "-o", lab.fresh("got"))
    getter = lab.spawn("get", ["taskset", "-c", "0", *argv], pipe=True)
    getter.line(r'"event":"progress","done":[1-9]', 60)
    share = int(lab.call("count", count, 30).output()) / alone
    if not getter.alive():
        lab.say("  the getter was done before the loop: the next figure says too much")
    name = " ".join(flags) or "plain"
    tell(f"{name}: a loop on its processor beside it / alone", share, ">=0.90" if flags else "",
         not flags or share >= 0.9)


def measure(each, only):
    """Run all measurements whose name contains `only`. `each` makes a lab for one and removes it."""
    hours = "daily 0:00-12:00 {0}; else {0}"
    rows = [("limit-up", held, "--limit-up 2M", ["--limit-up", "2M"], []),
            ("limit-down", held, "--limit-down 2M", [], ["--limit-down", "2M"]),
            ("schedule-up", held, "--schedule up=2M", ["--schedule", hours.format("up=2M")], []),
            ("schedule-down", held, "--schedule down=2M", [],
             ["--limit-down", "1M", "--schedule", hours.format("down=2M")]),
            ("no-limit-lan", free)]
    rows += [(f"background-{way}", beside, way, flags) for way in ("down", "up") for flags in (["--background"], [])]
    rows += [("background-cpu", processor, flags) for flags in (["--background"], [])]
    for name, what, *args in rows:
        if not only or only in name:
            print(f"polite: {name}", file=sys.stderr, flush=True)
            each(lambda lab, what=what, args=args: what(lab, *args))
