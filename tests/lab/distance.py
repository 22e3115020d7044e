"""A table of the cost of distance and loss, beside nginx + curl and libtorrent on the same network in the same round.

A pair of hosts, a publisher and a getter, is measured as tests/bench does it: MB/s from the start of the getter to its
exit, file in memory. Whoever is measured finds the path new: TCP keeps no memory of it. A rollout and two sites
are rows of tests/lab/run at a distance, the rollout beside the same without. Ratios are of figures of one round, and
their median counts. Congestion control is the machine's default of each host, set for all programs alike.
"""

import json
import os
import statistics
import sys
import time

import caps
import clients
import measure
import net
import report
import swarm
import wires
import yardsticks
from procs import Failed

CONTESTANTS = ("swarm", "nginx", "libtorrent")
AVAILABLE = "/proc/sys/net/ipv4/tcp_available_congestion_control"
SIZES = (64, 128, 512)
PAIRS = [dict(rate=500, rtt=40, loss=0, size=size) for size in SIZES] + \
        [dict(rate=500, rtt=150, loss=0, size=size) for size in SIZES] + \
        [dict(rate=100, rtt=40, loss=0.5, size=64)]
PAIR_LEAST, ROLLOUT_MOST, SITES_MOST = 0.97, 1.25, 1.10
ROLLOUT = dict(hosts=16, rate=50, size=64, rtt=40)
TWO_SITES = dict(sites=[8, 8], rate=1000, line=20, size=64, rtt=40)
LEGEND = f"""pair: MB/s, start of the getter to its exit; the ratio is swarm over the better of the two others, round by
round. rollout: slowest host over the bound; the ratio is that at the distance over that without. two sites:
bytes that came in by the line, over the file. idle: what was left of all processors; near 0 they are the limit,
and ratios say more than figures. wire: the share of one processor that the wire took: some 4 us a frame and 20
us a wake, the rest is the receivers' part of TCP. LATE: more than {wires.LATE_SHARE:.0%} of its frames were over 1 ms late, or
some were dropped: the row suffers from it. The queue of a link stays {net.QUEUE} long, socket buffers are the
machine's."""


def controls(wanted):
    """Returns the congestion controls to measure with. Raises Failed if one is not available."""
    if not wanted:
        return [None]
    with open(AVAILABLE, encoding="ascii") as file:
        available = file.read().split()
    for name in wanted.split(","):
        if name not in available:
            raise Failed(f"congestion control {name} is not available ({' '.join(available)}); try `modprobe "
                         f"tcp_{name}` as root")
    return wanted.split(",")


def pair_name(row):
    """Returns the name of a row of two hosts."""
    loss = f", loss {row['loss']:g} %" if row["loss"] else ""
    return f"pair {row['rate']:g} Mbit/s, {row['rtt']:g} ms{loss}, {row['size']:g} MiB"


def contestant(name, lab, source, hosts):
    """Run one transfer between the hosts by a program. Returns its sample."""
    if name == "swarm":
        return swarm.Swarm(lab).pair(source, os.path.getsize(source), hosts=hosts)
    if name == "nginx":
        return yardsticks.nginx(lab, source, True, hosts)
    return yardsticks.libtorrent(lab, source, hosts)


class Pair:
    """One row of two hosts: a series of samples for each contestant, on one network."""

    def __init__(self, row, names, control):
        self.row, self.control, self.name = row, control, f"{pair_name(row)}{', ' + control if control else ''}"
        self.series = {name: report.Series(self.name, name) for name in names}
        self.wire_shares, self.idle, self.counted = [], [], None

    def measure(self, lab):
        """Run all rounds."""
        lab.worth_keeping = True
        row = self.row
        network = net.Network(lab, [2], row["rate"], congestion=self.control, rtt=row["rtt"], loss=row["loss"],
                              seed=lab.options.seed)
        source = lab.random_file(row["size"])
        for number in range(lab.options.runs):
            for name, series in self.series.items():
                lab.say(f"{self.name}: {name}, round {number + 1}")
                series.samples.append(self._one(lab, network, name, source, number))
        self.counted = network.end()
        print(json.dumps({"row": self.name, "wire": self.counted}), flush=True)

    def _one(self, lab, network, name, source, number):
        before, began, cpu = measure.machine(), time.perf_counter(), network.wires.cpu()
        try:
            sample = contestant(name, lab, source, network.hosts)
        except Failed as error:
            lab.say(f"  FAILED {error}")
            self.series[name].errors.append(str(error))
            return None
        # The wire idles while a publisher starts and files are compared: its share is that of the transfer.
        share = (network.wires.cpu() - cpu) / sample["seconds"]
        self.wire_shares.append(share)
        self.idle.append(measure.idle_share(before))
        print(json.dumps({"row": self.name, "client": name, "round": number + 1, "wire_cpu": round(share, 3),
                          "idle": round(self.idle[-1], 3),
                          "took": round(time.perf_counter() - began, 1)}
                         | {key: round(value, 3) for key, value in sample.items() if value is not None}), flush=True)
        return sample

    def ratios(self):
        """Returns swarm's speed over that of the better other program, round by round."""
        found = []
        others = [series.samples for name, series in self.series.items() if name != "swarm"]
        for mine, *theirs in zip(self.series["swarm"].samples if "swarm" in self.series else [], *others):
            if mine and theirs and all(theirs):
                found.append(mine["mb_s"] / max(other["mb_s"] for other in theirs))
        return found

    def lines(self):
        """Returns the cells of the table."""
        check = report.Check(self.name, "", self.ratios(), ">=", PAIR_LEAST)
        figures = []
        for name in CONTESTANTS:
            values = self.series[name].values("mb_s") if name in self.series else []
            figures.append(f"{statistics.median(values):.1f}" if values else "-")
        return [[self.name, *figures, *verdict(check),
                 *machine_cells(self.idle, self.wire_shares, [self.counted])]]

    def failed(self):
        """Returns True if a getter did not get the file."""
        return any(series.errors for series in self.series.values())


class Rollout:
    """A row of many hosts, for each client, beside the same without distance where `field` is a time."""

    def __init__(self, name, row, field, names, control):
        self.row, self.field, self.control = dict(row, congestion=control), field, control
        self.name = f"{name}, {row['rtt']:g} ms{', ' + control if control else ''}"
        self.near = dict(self.row, rtt=0) if field == "slowest" else None
        self.results = {name: [] for name in names}

    def measure(self, within, chosen):
        """Run all rounds. Each run has a network of its own."""
        for number in range(chosen.runs):
            for name, results in self.results.items():
                found = []
                for row in filter(None, (self.near, self.row)):
                    row = dict(row, name=self.name if row is self.row else f"{self.name}: without distance")
                    print(f"{row['name']}: {name}, round {number + 1}", file=sys.stderr, flush=True)
                    figures = within(chosen, lambda lab, row=row, name=name: measure.Run(
                        lab, row, clients.CLIENTS[name], chosen.seed + number).measure())
                    print(json.dumps(figures), flush=True)
                    found.append(figures)
                results.append(found)

    def lines(self):
        """Returns the cells of the table, a line for each client."""
        cells = []
        for name, rounds in self.results.items():
            values = [figures[-1][self.field] for figures in rounds]
            if not values:
                continue
            near = [figures[0][self.field] for figures in rounds] if self.near else [1] * len(values)
            ratios = [] if None in values + near else [far / close for far, close in zip(values, near)]
            check = report.Check(self.name, "", ratios, "<=", ROLLOUT_MOST if self.near else SITES_MOST)
            figures = [""] * len(CONTESTANTS)
            figures[CONTESTANTS.index(name)] = "-" if None in values else f"{statistics.median(values):.3f}"
            cells.append([self.name, *figures, *verdict(check),
                          *machine_cells(*([figures[-1][key] for figures in rounds]
                                           for key in ("idle", "wire_cpu", "wire")))])
        return cells

    def failed(self):
        """Returns True if a getter did not get the file."""
        return any(figures["missing"] for rounds in self.results.values() for pair in rounds for figures in pair)


def verdict(check):
    """Returns median, least and greatest ratio, target, and whether the target is met."""
    spread = f"{check.spread[0]:.2f}..{check.spread[1]:.2f}" if check.spread else ""
    return ["-" if check.value is None else f"{check.value:.3f}", spread, f"{check.op} {check.limit:g}",
            {"PASS": "ok", "MISS": "miss"}.get(check.verdict(), "-")]


def machine_cells(idle, shares, counted):
    """Returns cells: idle share of all processors, share of one that the wire took, LATE if the wire was late."""
    late = any(one and not wires.good(one) for one in counted)
    return [f"{statistics.median(some):.0%}" if some else "-" for some in (idle, shares)] + ["LATE" if late else ""]


def rows(chosen):
    """Returns the rows that the command line selects."""
    names = chosen.clients.split(",") if chosen.clients else list(CONTESTANTS)
    others = [name for name in names if name in clients.CLIENTS] if chosen.clients else ["swarm"]
    found = []
    for control in controls(chosen.congestion):
        found += [Pair(row, names, control) for row in PAIRS]
        found.append(Rollout("rollout of 16", ROLLOUT, "slowest", others, control))
        found.append(Rollout("two sites of 8", TWO_SITES, "line_in", others, control))
    return [row for row in found if not chosen.only or chosen.only in row.name]


def meets(within, chosen, row):
    """Returns True if plain TCP meets the links of a row, and prints a message if not."""
    print(f"{row.name}: plain TCP", file=sys.stderr, flush=True)
    shape = row.row["rate"], row.row.get("line"), row.control, row.row["rtt"]
    try:
        within(chosen, lambda lab: caps.check(lab, *shape))
    except Failed as error:
        print(f"  FAILED {error}; the rows on such links are left out", file=sys.stderr, flush=True)
        return False
    return True


def run(within, chosen):
    """Print the table. Returns 1 if a getter did not get the file, or a row was left out."""
    checked, done, left_out = {}, [], False
    try:
        for row in rows(chosen):
            shape = row.row["rate"], row.control, row.row["rtt"]
            if shape not in checked:
                checked[shape] = meets(within, chosen, row)
            if not checked[shape]:
                left_out = True
                continue
            done.append(row)
            if isinstance(row, Pair):
                within(chosen, row.measure)
            else:
                row.measure(within, chosen)
    finally:
        lines = [line for row in done for line in row.lines()]
        if lines:
            heading = ["row", *CONTESTANTS, "ratio", "min..max", "target", "", "idle", "wire", ""]
            print("\n" + report.grid([heading] + lines) + "\n" + LEGEND)
    return int(left_out or any(row.failed() for row in done))
