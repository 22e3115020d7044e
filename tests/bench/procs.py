"""Processes, their cost, and the folder they work in.

Everything the benchmark starts goes through `Bench.spawn`, so that one place knows every pid and can end it, and every
temporary file lies below one folder that is removed at the end, also after Ctrl-C. Nothing is ended by name.
"""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


class Failed(Exception):
    """A process did not do what the benchmark needs; the text says which and shows the end of its stderr."""


def until(condition, what, seconds=20.0):
    """Wait until `condition()` is true (and return its value); Failed when it is not within `seconds`."""
    deadline = time.perf_counter() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.perf_counter() > deadline:
            raise Failed(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.005)


def status_mib(pid, field):
    """A field of /proc/PID/status (VmHWM: peak RSS, VmRSS: RSS now) in MiB; 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            found = re.search(rf"^{field}:\s*(\d+) kB", status.read(), re.M)
    except OSError:
        return 0.0
    return int(found.group(1)) / 1024 if found else 0.0


class Proc:
    """One child process, timed from just before its start; wait4 and /proc tell what it cost."""

    def __init__(self, bench, name, argv, pipe=False):
        self.name, self.bench, self.argv = name, bench, [str(arg) for arg in argv]
        self.out_path, self.err_path = bench.path(f"log/{name}.out"), bench.path(f"log/{name}.err")
        self.usage, self.code, self.peak, self.unread = None, None, 0.0, b""
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.start = time.perf_counter()
            # A session of its own: Ctrl-C reaches only this script, which then ends its children one by one.
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, start_new_session=True, stderr=err,
                                          stdout=subprocess.PIPE if pipe else out)
        self.pid = self.popen.pid
        self.pidfd = os.pidfd_open(self.pid)

    def tree(self):
        """The pids of the process and of its descendants (nginx does its work in children)."""
        pids = [self.pid]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                    pids += map(int, children.read().split())
            except OSError:
                pass
        return pids

    def cpu(self):
        """CPU seconds used so far by the running process and its descendants, ended threads included."""
        total = 0.0
        for pid in self.tree():
            try:
                total += time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): exact where /proc counts 10 ms
            except OSError:
                pass
        return total

    def peak_mib(self):
        """Peak RSS in MiB, of the largest process where there are several; None where it could not be seen."""
        if self.usage is None:
            self.peak = max([self.peak] + [status_mib(pid, "VmHWM") for pid in self.tree()])
            return self.peak
        # ru_maxrss is exact, but Linux also counts this script, as which the child ran until exec, into it: above our
        # own size it is the child's, below it only the peak seen while polling is known.
        maxrss = self.usage.ru_maxrss / 1024
        return maxrss if maxrss > status_mib(os.getpid(), "VmHWM") + 1 else self.peak or None

    def alive(self):
        """Returns whether it still runs; reaps it when it has ended."""
        if self.usage is None and select.select([self.pidfd], [], [], 0)[0]:
            self._reap()
        return self.usage is None

    def _reap(self):
        _, status, self.usage = os.wait4(self.pid, 0)
        self.code = self.popen.returncode = os.waitstatus_to_exitcode(status)
        os.close(self.pidfd)
        if self.popen.stdout:
            self.popen.stdout.close()

    def wait(self, timeout, watch=None):
        """Wait for its end; returns the seconds from its start. Failed on a non-zero exit code or on timeout.

        `watch` is called 20 times a second meanwhile.
        """
        while not select.select([self.pidfd], [], [], 0.05)[0]:
            self.peak_mib()
            if watch:
                watch()
            if time.perf_counter() - self.start > timeout:
                raise self.failed(f"still running after {timeout:.0f} s")
        seconds = time.perf_counter() - self.start
        self._reap()
        if self.code:
            raise self.failed(f"exit code {self.code}")
        return seconds

    def line(self, pattern, timeout):
        """The first stdout line matching `pattern` and the seconds from the start to it (needs pipe=True)."""
        fd, deadline = self.popen.stdout.fileno(), self.start + timeout
        while True:
            while b"\n" in self.unread:
                text, _, self.unread = self.unread.partition(b"\n")
                found = re.search(pattern, text.decode(errors="replace"))
                if found:
                    return found, time.perf_counter() - self.start
            if not select.select([fd], [], [], max(0.0, deadline - time.perf_counter()))[0]:
                raise self.failed(f"no line matching {pattern!r} within {timeout:.0f} s")
            more = os.read(fd, 65536)
            if not more:
                raise self.failed(f"ended its output without a line matching {pattern!r}")
            self.unread += more

    def port_open(self, port, timeout=20.0):
        """Wait until somebody listens on this TCP port in the network namespace of the process."""
        listens = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", re.M)

        def probe():
            if not self.alive():
                raise self.failed("ended before it listened")
            with open(f"/proc/{self.pid}/net/tcp", encoding="ascii") as sockets:
                return listens.search(sockets.read())
        until(probe, f"{self.name} to listen on port {port}", timeout)

    def stop(self, sig=signal.SIGTERM, patience=10.0):
        """End it by its pid: politely, then by SIGKILL. Returns whether the polite way did."""
        polite = True
        while self.alive():
            os.kill(self.pid, sig)
            if not select.select([self.pidfd], [], [], patience)[0]:
                sig, polite = signal.SIGKILL, False
        return polite

    def output(self):
        """Returns its output on stdout (pipe=False)."""
        with open(self.out_path, encoding="utf-8", errors="replace") as out:
            return out.read()

    def failed(self, why):
        """An exception that names the process and shows the end of its stderr."""
        with open(self.err_path, encoding="utf-8", errors="replace") as err:
            tail = err.read()[-500:].strip()
        return Failed(f"{self.name}: {why}" + (f": {tail}" if tail else ""))


class Bench:
    """The run: options, the temporary folder, every process, and what to undo at the end."""

    def __init__(self, options):
        self.options, self.procs, self.undo, self.serial = options, [], [], 0
        self.spawning, self.interrupted = False, False
        self.root = tempfile.mkdtemp(prefix="swarm-bench-", dir=options.dir)
        os.mkdir(self.path("log"))
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, self._interrupt)

    def _interrupt(self, *_):
        # Not in the middle of a start: a process whose pid is not known yet could not be ended.
        self.interrupted = True
        if not self.spawning:
            raise KeyboardInterrupt

    def path(self, name):
        """A path below the temporary folder."""
        return os.path.join(self.root, name)

    def fresh(self, name):
        """A path below the temporary folder that was not used before (homes, outputs)."""
        self.serial += 1
        return self.path(f"{name}-{self.serial}")

    def spawn(self, name, argv, pipe=False):
        """Start a process; it is ended with the run unless it ends before."""
        self.serial += 1
        self.spawning = True
        try:
            proc = Proc(self, f"{name}-{self.serial}", argv, pipe)
            self.procs = [old for old in self.procs if old.usage is None] + [proc]
        except OSError as error:
            raise Failed(f"{name}: {error}") from error
        finally:
            self.spawning = False
            if self.interrupted:
                raise KeyboardInterrupt
        return proc

    def call(self, name, argv, timeout=120.0):
        """Run a command to its end; returns the process."""
        proc = self.spawn(name, argv)
        try:
            proc.wait(timeout)
        finally:
            proc.stop()
        return proc

    def port(self):
        """A TCP port of the loopback interface that is free now, for the servers that cannot listen on port 0."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def patience(self, size):
        """Returns the seconds after which a transfer of `size` bytes counts as hung: 30 s, and the time at 5 MB/s."""
        return 30 + size / 5e6

    def prime(self, size):
        """Touch `size` bytes of memory and free them, right before a timed run that will need as much.

        A virtual machine may hand freed memory back to its host within seconds; faulting it in again costs up to 2 s
        of CPU per GB, which would be charged to whichever contestant happens to come first.
        """
        block, path = bytes(1 << 20), self.path("prime")
        with open(path, "wb", buffering=0) as file:
            for _ in range(0, size, len(block)):
                file.write(block)
        os.unlink(path)

    def same(self, source, copy):
        """Failed unless the download equals its source, file by file."""
        try:
            self.call("compare", ["diff", "-rq", "--", source, copy], timeout=self.patience(1 << 30))
        except Failed as error:
            raise Failed(f"what was downloaded differs from its source ({error})") from error

    def remove(self, *paths):
        """Remove files and folders, to give their memory back before the next run."""
        for path in paths:
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif os.path.lexists(path):
                os.unlink(path)

    def say(self, text):
        """Progress, on stderr: stdout carries only results."""
        print(text, file=sys.stderr, flush=True)

    def close(self):
        """End every process, undo the namespaces, remove the folder. A second Ctrl-C does not cut this short."""
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        for proc in reversed(self.procs):
            proc.stop(patience=5.0)
        for undo in reversed(self.undo):
            undo()
        shutil.rmtree(self.root, ignore_errors=True)
