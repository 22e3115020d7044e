"""One bulk TCP transfer, to check that what the links are said to carry is what they carry.

`send ADDRESS PORT [CONGESTION]` says `ready` and sends zeros to who connects until that hangs up; `receive ADDRESS PORT SECONDS`
reads them, and says what came within the seconds that follow a second of warming up. Both say what CPU it took.
"""

import json
import socket
import sys
import time

WARM_UP = 1.0


def send(address, port, congestion=None):
    """Serve one connection."""
    block, sent = bytes(1 << 18), 0
    with socket.create_server((address, port)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
        cpu = time.process_time()
        if congestion:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        with connection:
            try:
                while True:
                    sent += connection.send(block)
            except ConnectionError:
                print(json.dumps({"bytes": sent, "cpu": time.process_time() - cpu}), flush=True)


def receive(address, port, seconds):
    """Count what comes."""
    room, counted, start, cpu = bytearray(1 << 20), 0, None, 0.0
    with socket.create_connection((address, port), timeout=10) as connection:
        began = time.perf_counter()
        while True:
            size, now = connection.recv_into(room), time.perf_counter()
            if not size:
                sys.exit("the sender hung up")
            if start is None:
                if now - began >= WARM_UP:
                    start, cpu = now, time.process_time()
                continue
            counted += size
            if now - start >= seconds:
                cpu = time.process_time() - cpu
                print(json.dumps({"bytes": counted, "seconds": now - start, "cpu": cpu}), flush=True)
                return


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
    else:
        receive(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
