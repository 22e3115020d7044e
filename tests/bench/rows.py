"""The rows: what is measured, with whom it is compared, and the target of each figure."""

import functools
import os
import subprocess
import time

import netns
import yardsticks
from procs import Failed, status_mib
from report import Check, Series, ratios
from swarm import Swarm, calibrate, exists, without_peers

SMALL = 1 << 20
DIR_FILES, DIR_FILE = 10_000, 10_000
IDLE_SECONDS = 10
FOUR_TOLERANCE = 0.05
PAIR_LEAST = 1.1  # of nginx over HTTPS


def random_file(bench, name, size):
    """A file of random bytes in the tmpfs (hence always in memory), made once per run of the script."""
    path = bench.path(os.path.join("src", name))
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            left = size
            while left:
                left -= file.write(os.urandom(min(left, 1 << 20)))
    return path


def random_dir(bench):
    """A folder of 10,000 files of 10 KB in 100 folders."""
    top = bench.path(os.path.join("src", "files"))
    for number in range(DIR_FILES):
        folder = os.path.join(top, f"{number // 100:02}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{number % 100:02}.bin"), "wb") as file:
            file.write(os.urandom(DIR_FILE))
    return top


def interleave(bench, contestants, runs):
    """Run the contestants A B A B: whatever disturbs the machine for a while disturbs them alike.

    `contestants` is a list of (Series, function giving a sample). What fails to run is noted and the rest goes on.
    """
    for number in range(runs):
        for series, once in contestants:
            began = time.perf_counter()
            try:
                series.samples.append(once())
                told = "done"
            except Failed as error:
                series.samples.append(None)
                series.errors.append(str(error))
                told = f"FAILED {error}"
            bench.say(f"{series.row} {number + 1}/{runs} {series.name}: {told} ({time.perf_counter() - began:.1f} s)")


def contest(bench, row, swarm, others=(), runs=None):
    """Run swarm's contestants (left out where there is no binary) and the others; the series of both by name."""
    series = {name: Series(row, name) for name, _ in [*swarm, *others]}
    ready = not bench.options.no_swarm and exists(bench.options.swarm)
    for name, _ in [] if ready else swarm:
        if bench.options.no_swarm:
            series[name].note = "left out (--no-swarm)"
        else:
            series[name].errors.append(f"there is no binary at {bench.options.swarm}")
    run = [(series[name], once) for name, once in [*(swarm if ready else ()), *others]]
    interleave(bench, run, runs or bench.options.runs)
    return series


def pair(bench):
    """One seeder, one getter, two processes on loopback, file in memory: MB/s, CPU and RSS of each side."""
    source, size = random_file(bench, "big.bin", bench.options.size), bench.options.size
    others = [("nginx-https", lambda: yardsticks.nginx(bench, source, True)),
              ("nginx-http", lambda: yardsticks.nginx(bench, source, False)),
              ("libtorrent", lambda: yardsticks.libtorrent(bench, source)),
              ("aria2", lambda: yardsticks.aria2(bench, source))]
    calibration = {}
    if exists(bench.options.calibrate.split()[0]):
        def run_calibrate():
            for name, rate in calibrate(bench).items():
                calibration.setdefault(name, Series("pair", name)).samples.append({"mb_s": rate})
        others.append(("calibrate", run_calibrate))
    series = contest(bench, "pair", [("swarm", lambda: Swarm(bench).pair(source, size))], others)
    series["libtorrent"].note = "its RSS is mostly the file itself, which libtorrent 2.0 maps into memory"
    swarm = series["swarm"]
    checks = [Check("pair", f"swarm / {name}", ratios(swarm, series[name], "mb_s"), ">=", least)
              for name, least in (("nginx-https", PAIR_LEAST), ("libtorrent", 2.5), ("aria2", 3.5))]
    # Not the target, but the strictest reading of it: all of swarm's time against the yardstick's without its start.
    checks += [Check("pair", f"swarm / {name} transfer", ratios(swarm, series[name], "mb_s", "transfer_mb_s"))
               for name in ("libtorrent", "aria2")]
    for side, long in (("seed", "seeder"), ("get", "getter")):
        checks.append(Check("pair", f"swarm {long} CPU", swarm.values(f"{side}_cpu_s_gb"), "<=", 1.3, "s/GB"))
    for side, long in (("seed", "seeder"), ("get", "getter")):
        checks.append(Check("pair", f"swarm {long} peak RSS", swarm.values(f"{side}_rss_mib"), "<=", 96, "MiB"))
    if "calibrate" in series and not series["calibrate"].errors:
        del series["calibrate"]  # its figures stand under their own names
    return list(series.values()) + list(calibration.values()), checks


def veth(bench):
    """The pair over veth with MTU 1500 and offloads on, between two network namespaces: MB/s, CPU and RSS."""
    left_out = netns.unavailable()
    if left_out:
        series = [Series("veth", name, f"skipped: {left_out}") for name in ("swarm", "nginx-https")]
        return series, [Check("veth", "swarm / nginx-https", [], ">=", PAIR_LEAST)]
    source, size = random_file(bench, "big.bin", bench.options.size), bench.options.size
    hosts = netns.make_pair(bench)
    series = contest(bench, "veth", [("swarm", lambda: Swarm(bench).pair(source, size, hosts=hosts))],
                     [("nginx-https", lambda: yardsticks.nginx(bench, source, True, hosts))])
    check = Check("veth", "swarm / nginx-https", ratios(*series.values(), "mb_s"), ">=", PAIR_LEAST)
    return list(series.values()), [check]


def hashing(bench):
    """swarm publish of a file in memory, start to id, against b3sum of the same file."""
    source = random_file(bench, "big.bin", bench.options.size)
    series = contest(bench, "hash", [("swarm publish", lambda: Swarm(bench).hash(source))],
                     [("b3sum", lambda: yardsticks.b3sum(bench, source))])
    return list(series.values()), [Check("hash", "swarm publish / b3sum", ratios(*series.values(), "seconds"),
                                         "<=", 1.2)]


def milliseconds(sample):
    """Returns a sample in ms, without the figures that mean nothing for a file this small."""
    return {"ms": sample["seconds"] * 1000, "get_rss_mib": sample["get_rss_mib"]}


def small(bench):
    """get of a 1 MiB file, process start to exit: by link on loopback, and by mDNS alone between two hosts."""
    source, runs = random_file(bench, "small.bin", SMALL), 3 * bench.options.runs  # short, so rather a few more
    series = contest(bench, "small", [("swarm by link", lambda: milliseconds(Swarm(bench).pair(source, SMALL)))],
                     [("nginx-https", lambda: milliseconds(yardsticks.nginx(bench, source, True)))], runs)
    mdns = Series("small", "swarm by mDNS", netns.unavailable() and f"skipped: {netns.unavailable()}")
    if not mdns.note:
        hosts = netns.make_pair(bench)  # also without a binary: shows that the namespaces can be made here
        series |= contest(bench, "small", [(mdns.name, lambda: by_mdns(bench, hosts, source))], runs=runs)
        mdns = series[mdns.name]
    checks = [Check("small", "swarm by link", series["swarm by link"].values("ms"), "<=", 150, "ms"),
              Check("small", "swarm by mDNS", mdns.values("ms"), "<=", 400, "ms")]
    return list((series | {mdns.name: mdns}).values()), checks


def by_mdns(bench, hosts, source):
    """One get in the second namespace from a seeder in the first, with a link that names no address."""
    swarm, out = Swarm(bench), bench.fresh("swarm-out")
    seeder, link, _ = swarm.publish(source, host=hosts[0])
    try:
        proc, seconds, _ = swarm.get(without_peers(link), out, SMALL, host=hosts[1])
        bench.same(source, out)
        return {"ms": seconds * 1000, "get_rss_mib": proc.peak_mib()}
    finally:
        swarm.stop(seeder)
        bench.remove(out)


def four(bench):
    """Four seeders and one getter against one seeder and one getter: more sources must not cost time."""
    source, size = random_file(bench, "big.bin", bench.options.size), bench.options.size
    series = contest(bench, "four", [
        ("four seeders", lambda: Swarm(bench).pair(source, size, seeders=4)),
        ("one seeder", lambda: Swarm(bench).pair(source, size))])
    return list(series.values()), [Check("four", "four / one, time", ratios(*series.values(), "seconds"), "<=", 1.0,
                                         tolerance=FOUR_TOLERANCE)]


def directory(bench):
    """get of 10,000 files of 10 KB against get of one file of the same 100 MB."""
    size = DIR_FILES * DIR_FILE
    many, one = functools.cache(random_dir), functools.partial(random_file, bench, "hundred.bin", size)
    series = contest(bench, "dir", [
        ("10,000 files", lambda: Swarm(bench).pair(many(bench), size)),
        ("one file", lambda: Swarm(bench).pair(one(), size))],
        [("cp -r, 10,000 files", lambda: copy(bench, many(bench), size)), ("cp, one file", lambda: copy(bench, one(), size))])
    files, file, cp_files, cp_file = series.values()
    return list(series.values()), [
        Check("dir", "10,000 files / one file, time", ratios(files, file, "seconds"), "<=", 1.5),
        Check("dir", "the same by cp: what the kernel asks for files", ratios(cp_files, cp_file, "seconds")),
        Check("dir", "10,000 files, swarm / cp -r, time", ratios(files, cp_files, "seconds"))]


def copy(bench, source, size):
    """A plain copy on the same file system."""
    out = bench.fresh("cp-out")
    try:
        began = time.perf_counter()
        subprocess.run(["cp", "-r", source, out], check=True)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "mb_s": size / seconds / 1e6}
    finally:
        bench.remove(out)


def idle(bench):
    """`swarm daemon` left alone for 10 s: RSS then, and CPU over 10 s more. As many daemons as runs, side by side."""
    name = "swarm daemon"

    def watch():
        swarm = Swarm(bench)
        daemons = [bench.spawn("swarm-daemon", swarm.argv(bench.fresh("home"), "daemon"))
                   for _ in range(bench.options.runs)]
        try:
            time.sleep(IDLE_SECONDS)
            before = [(status_mib(daemon.pid, "VmRSS"), daemon.cpu()) for daemon in daemons]
            time.sleep(IDLE_SECONDS)
            samples = [{"rss_mib": rss, "cpu_ms": 1000 * (daemon.cpu() - cpu)}
                       for daemon, (rss, cpu) in zip(daemons, before)]
            gone = [daemon for daemon in daemons if not daemon.alive()]
            if gone:
                raise gone[0].failed(f"ended (exit code {gone[0].code}) instead of idling")
            return samples
        finally:
            swarm.stop(*daemons)
    series = contest(bench, "idle", [(name, watch)], runs=1)[name]
    series.samples = [sample for batch in series.samples if batch for sample in batch]
    return [series], [Check("idle", "daemon RSS", series.values("rss_mib"), "<=", 40, "MiB"),
                      Check("idle", "daemon CPU over 10 s", series.values("cpu_ms"), "<=", 10, "ms")]


# Name on the command line -> (function, programs it needs, bytes of tmpfs for a file of `size`).
ROWS = {
    "pair": (pair, ["nginx", "curl", "openssl", "aria2c", "libtorrent"], lambda size: 3 * size),
    "veth": (veth, ["nginx", "curl", "openssl", "ip"], lambda size: 3 * size),
    "hash": (hashing, ["b3sum"], lambda size: 2 * size),
    "small": (small, ["nginx", "curl", "openssl", "ip"], lambda size: 16 * SMALL),
    "four": (four, [], lambda size: 3 * size),
    "dir": (directory, [], lambda size: 10 * DIR_FILES * DIR_FILE),
    "idle": (idle, [], lambda size: 1 << 20),
}
