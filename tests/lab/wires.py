"""Wires with distance and loss: wire.c, compiled into the run's folder, in a network namespace of its own.

A wire stands in the middle of a link and works in one direction, towards the end that is far: a frame comes out after
half of the round-trip time, or is lost. The other direction goes through the kernel at once. Whoever is at the far
ends sees the whole round-trip time, and each frame takes processor time only once.
"""

import json
import os
import shutil
import signal
import sys
import time

from procs import Failed

SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "wire.c")
# The ring of a wire holds frames of this many bytes on average (acknowledgements are small) for the delay and this
# many seconds more.
FRAME, SPARE = 300, 0.05
UNSHAPED_MBIT = 2000
LATE_SHARE = 0.05


def missing():
    """Returns a sentence that says why there can be no wires here, or None."""
    return None if shutil.which("cc") else "there is no C compiler `cc` for tests/lab/wire.c: install gcc"


class Wires:
    """All wires of a network. They exist from `lay` on and carry frames from `start` on."""

    def __init__(self, lab, namespace, rtt, loss, seed):
        self.lab, self.namespace, self.rtt, self.loss, self.seed = lab, namespace, rtt, loss, seed
        self.specs, self.proc = [], None

    def lay(self, near, far, mbit):
        """Add a wire from the device `near` to the device `far`, for what a link of so many Mbit/s may carry."""
        seconds = self.rtt / 2000 + SPARE
        slots = min(max(int((mbit or UNSHAPED_MBIT) * 1e6 / 8 / FRAME * seconds), 512), 1 << 18)
        self.specs.append(f"{near},{far},{self.rtt / 2:g},{self.loss:g},{slots}")

    def start(self):
        """Compile the program and start it."""
        program = self.lab.path("wire")
        self.lab.call("cc", ["cc", "-O2", "-o", program, SOURCE])
        argv = ["nsenter", f"--net=/run/netns/{self.namespace}", program, "-s", str(self.seed), *self.specs]
        self.proc = self.lab.spawn("wire", argv, pipe=True)
        self.proc.line("^ready", 20)

    def cpu(self):
        """Returns the CPU seconds so far. The kernel charges the receiver's part of TCP to the sender."""
        return self.proc.cpu()

    def end(self):
        """End the program. Returns its counters, and warns on stderr if the wire was too late for good figures."""
        os.kill(self.proc.pid, signal.SIGTERM)
        running = time.perf_counter() - self.proc.start
        counted = json.loads(self.proc.line(r"^\{.*", running + 20)[0].group(0))
        self.proc.stop()
        for name in ("unfinished", "cut"):
            if counted[name]:
                raise Failed(f"the wire dropped {counted[name]} frames as {name}: offloads are not off")
        if not good(counted):
            print(f"  warning: the wire was late: {counted}", file=sys.stderr, flush=True)
        return counted


def good(counted):
    """Returns True if the wire carried 19 of 20 frames within 1 ms and dropped none."""
    return counted["late"] <= LATE_SHARE * counted["frames"] and not counted["overflow"] and not counted["failed"]
