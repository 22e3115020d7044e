"""Checks, before anything is measured, that a plain TCP transfer meets the caps of the network within 5 %."""

import json
import os
import sys

import net
from procs import Failed

PORT, SECONDS, WITHIN, ATTEMPTS = 7000, 3.0, 0.05, 2
# Of a full packet of 1,514 bytes (which is what TBF counts) TCP with time stamps carries 1,448.
PAYLOAD, PACKET = 1448, 1514


def bulk(*args):
    """The command line of bulk.py."""
    return [sys.executable, "-B", os.path.join(os.path.dirname(os.path.realpath(__file__)), "bulk.py"), *args]


def transfer(lab, sender, receiver):
    """One transfer from host to host: Mbit/s of payload, and CPU seconds per GB of both ends."""
    server = lab.spawn("tcp-send", sender.argv(*bulk("send", sender.address, PORT)), pipe=True)
    try:
        server.line("^ready", 20)
        call = lab.call("tcp-receive", receiver.argv(*bulk("receive", sender.address, PORT, SECONDS)), 60)
        got = json.loads(call.output())
        sent = json.loads(server.line("^{.*", 60)[0].group(0))
        cpu = [end["cpu"] / end["bytes"] * 1e9 for end in (got, sent)]
        return got["bytes"] * 8 / got["seconds"] / 1e6, sum(cpu)
    finally:
        server.stop()


def check(lab, rate, line, congestion):
    """Measure a link, and a line where there is one, on a small network of the same making.

    Prints one JSON line for each; Failed when one is off, twice: a busy moment of the machine may spoil one transfer. A
    node that receives the file and passes it on once cannot take less CPU than both ends together, printed too.
    """
    network = net.Network(lab, [2, 1] if line else [2], rate, line, congestion=congestion)
    pairs = [("link", rate, network.hosts[0], network.hosts[1])]
    if line:
        pairs.append(("line", line, network.hosts[0], network.hosts[2]))
    for where, cap, sender, receiver in pairs:
        for attempt in range(1, ATTEMPTS + 1):
            goodput, cpu = transfer(lab, sender, receiver)
            met = goodput / (cap * PAYLOAD / PACKET)
            print(json.dumps({"row": "tcp", "where": where, "cap_mbit": cap, "goodput_mbit": round(goodput, 3),
                              "met": round(met, 4), "cpu_s_per_gb": round(cpu, 2)}), flush=True)
            if abs(met - 1) <= WITHIN:
                break
            if attempt == ATTEMPTS:
                raise Failed(f"plain TCP over a {where} of {cap:g} Mbit/s came to {met:.1%} of what the cap leaves it; "
                             f"nothing measured on this machine now would mean anything")
