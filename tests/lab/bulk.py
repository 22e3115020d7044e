"""Bulk TCP transfers, to check that the links carry as much as they are set to.

`send ADDRESS PORT [CONGESTION [CONNECTIONS]]` says `ready` and sends zeros to who connects until those hang up;
`receive ADDRESS PORT SECONDS [WARM_UP [CONNECTIONS]]` reads them, and says what came within the seconds that follow
some of warming up (1). Both say what CPU it took, the sender also its congestion control. `ping ADDRESS PORT`
connects ten times and says the least time that one took, which is the round-trip time: the far kernel answers.
"""

import json
import selectors
import socket
import sys
import threading
import time

PINGS = 10


def serve(connection):
    """Send zeros until the other end hangs up. Returns how many."""
    block, sent = bytes(1 << 18), 0
    with connection:
        try:
            while True:
                sent += connection.send(block)
        except ConnectionError:
            return sent


def send(address, port, congestion="", connections="1"):
    """Serve this many connections."""
    sent, threads = [], []
    with socket.create_server((address, port)) as server:
        print("ready", flush=True)
        cpu = None
        for _ in range(int(connections)):
            connection, _ = server.accept()
            cpu = cpu or time.process_time()
            if congestion:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
            used = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
            threads.append(threading.Thread(target=lambda one=connection: sent.append(serve(one))))
            threads[-1].start()
        for thread in threads:
            thread.join()
        print(json.dumps({"bytes": sum(sent), "cpu": time.process_time() - cpu, "congestion": used}), flush=True)


def receive(address, port, seconds, warm_up="1", connections="1"):
    """Count the bytes that arrive."""
    room, counted, start, cpu, ready = bytearray(1 << 20), 0, None, 0.0, selectors.DefaultSelector()
    for _ in range(int(connections)):
        ready.register(socket.create_connection((address, port), timeout=10), selectors.EVENT_READ)
    began = time.perf_counter()
    while True:
        for key, _ in ready.select(10):
            size, now = key.fileobj.recv_into(room), time.perf_counter()
            if not size:
                sys.exit("the sender hung up")
            if start is None:
                if now - began >= float(warm_up):
                    start, cpu = now, time.process_time()
                continue
            counted += size
            if now - start >= float(seconds):
                cpu = time.process_time() - cpu
                print(json.dumps({"bytes": counted, "seconds": now - start, "cpu": cpu}), flush=True)
                return


def ping(address, port):
    """Time connections."""
    least = None
    for _ in range(PINGS):
        began = time.perf_counter()
        with socket.socket() as one:
            one.connect((address, port))
            took = time.perf_counter() - began
        least = min(took, least or took)
    print(json.dumps({"ms": round(least * 1000, 3)}), flush=True)


if __name__ == "__main__":
    {"send": send, "receive": receive, "ping": ping}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
