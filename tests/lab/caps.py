"""Checks, before anything is measured, that plain TCP meets the caps of the network within 5 % and the distance.

Over a distance one connection may be too few: it sends no more than its buffer (net.ipv4.tcp_wmem) in a round-trip
time. The check then takes several, and is without loss, which is what keeps TCP from meeting a cap. BBR leaves some
7 % of a long path (150 ms) unused, so that 10 % may be missing over a distance.
"""

import json
import math
import os
import sys

import net
from procs import Failed

PORT, SECONDS, WITHIN, WITHIN_FAR, ATTEMPTS = 7000, 3.0, 0.05, 0.10, 2
# Of a full packet of 1,514 bytes (which is what TBF counts) TCP with time stamps carries 1,448.
PAYLOAD, PACKET = 1448, 1514
# Bytes in flight that one connection surely manages, by Linux's own defaults; round-trip times until TCP has found
# its rate; by how many ms a round-trip time may be off.
IN_FLIGHT, SETTLED, OFF = 1 << 21, 40, 1.0


def bulk(*args):
    """The command line of bulk.py."""
    return [sys.executable, "-B", os.path.join(os.path.dirname(os.path.realpath(__file__)), "bulk.py"),
            *(str(arg) for arg in args)]


def transfer(lab, sender, receiver, rtt=0, connections=1):
    """Transfer from host to host. Returns Mbit/s of payload, CPU seconds per GB of both ends, congestion control."""
    server = lab.spawn("tcp-send", sender.argv(*bulk("send", sender.address, PORT, "", connections)), pipe=True)
    try:
        server.line("^ready", 20)
        times = SECONDS + SETTLED * rtt / 2000, 1 + SETTLED * rtt / 1000
        argv = receiver.argv(*bulk("receive", sender.address, PORT, *times, connections))
        call = lab.call("tcp-receive", argv, 60)
        got = json.loads(call.output())
        sent = json.loads(server.line("^{.*", 60)[0].group(0))
        cpu = [end["cpu"] / end["bytes"] * 1e9 for end in (got, sent)]
        return got["bytes"] * 8 / got["seconds"] / 1e6, sum(cpu), sent["congestion"]
    finally:
        server.stop()


def round_trip(lab, one, other):
    """Returns the round-trip time of an idle path, in ms."""
    server = lab.spawn("tcp-send", other.argv(*bulk("send", other.address, PORT, "", 1000)), pipe=True)
    try:
        server.line("^ready", 20)
        return json.loads(lab.call("tcp-ping", one.argv(*bulk("ping", other.address, PORT)), 60).output())["ms"]
    finally:
        server.stop()


def check(lab, rate, line, congestion, rtt=0):
    """Measure a link, and a line where there is one, on a small network of the same making.

    Prints one JSON line for each; Failed when one is off, twice: a busy moment of the machine may spoil one transfer. A
    node that receives the file and passes it on once cannot take less CPU than both ends together, printed too.
    """
    network = net.Network(lab, [2, 1] if line else [2], rate, line, congestion=congestion, rtt=rtt)
    pairs = [("link", rate, network.hosts[0], network.hosts[1], 0 if line else rtt)]
    if line:
        pairs.append(("line", line, network.hosts[0], network.hosts[2], rtt))
    for where, cap, sender, receiver, ms in pairs:
        if ms:
            check_distance(lab, where, sender, receiver, ms)
        connections = max(1, math.ceil(cap * 1e6 / 8 * ms / 1000 / IN_FLIGHT))
        for attempt in range(1, ATTEMPTS + 1):
            goodput, cpu, used = transfer(lab, sender, receiver, ms, connections)
            met = goodput / (cap * PAYLOAD / PACKET)
            print(json.dumps({"row": "tcp", "where": where, "cap_mbit": cap, "rtt_ms": ms, "congestion": used,
                              "connections": connections, "goodput_mbit": round(goodput, 3), "met": round(met, 4),
                              "cpu_s_per_gb": round(cpu, 2)}), flush=True)
            if congestion and used != congestion:
                raise Failed(f"the hosts use {used}, not {congestion}")
            if abs(met - 1) <= (WITHIN_FAR if ms else WITHIN):
                break
            if attempt == ATTEMPTS:
                raise Failed(f"plain TCP over a {where} of {cap:g} Mbit/s came to {met:.1%} of what the cap leaves it; "
                             f"nothing measured on this machine now would mean anything")
    network.end()


def check_distance(lab, where, one, other, rtt):
    """Measure the round-trip time. Raises Failed if it is off twice."""
    for attempt in range(1, ATTEMPTS + 1):
        found = round_trip(lab, one, other)
        print(json.dumps({"row": "rtt", "where": where, "rtt_ms": rtt, "found_ms": found}), flush=True)
        if abs(found - rtt) <= OFF:
            return
        if attempt == ATTEMPTS:
            raise Failed(f"a connection over a {where} of {rtt:g} ms takes {found:g} ms; nothing measured on this "
                         f"machine now would mean anything")
