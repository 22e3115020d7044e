"""The tracker of the BitTorrent clients: ADDRESS PORT. Prints `peer ADDRESS PORT` for each new peer."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "bench"))
from yardsticks import Tracker  # noqa: E402

# Short, because nodes come and go within seconds; an announce and its answer are about 1 KB.
INTERVAL = 10


def main():
    """Serve until ended."""
    tracker, known = Tracker(sys.argv[1], int(sys.argv[2]), INTERVAL), set()
    print("ready", flush=True)
    while True:
        for peer in set(tracker.peers) - known:
            known.add(peer)
            print("peer", *peer, flush=True)
        time.sleep(0.1 if len(known) < 1 else 1)


if __name__ == "__main__":
    main()
