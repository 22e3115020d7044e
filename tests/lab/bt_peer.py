"""One libtorrent 2.0 peer on a host of its own, for the system python3. Started by clients.py.

`seed|leech TORRENT FOLDER ADDRESS TRACKER [now]`: a seed has the file, a leech fetches it and then goes on sharing. A
leech says `ready` and starts at SIGUSR1 (or `now`), so that neither the start of Python nor the import weighs on it;
it says `first` at its first verified piece and `done BYTES` when all is verified, with the payload it received.
Settings are libtorrent's defaults but: no discovery except by the tracker and peer exchange, plain TCP.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "bench"))
import libtorrent as lt  # noqa: E402
import lt_peer  # noqa: E402

PORT = 6881


def session(address):
    """A session that listens on the one address of the host."""
    settings = dict(lt_peer.SETTINGS, listen_interfaces=f"{address}:{PORT}")
    del settings["allow_multiple_connections_per_ip"]
    return lt.session(settings)


def add(running, torrent, folder, tracker, flags):
    """Add the torrent with its tracker. What is in the folder already is checked and kept."""
    handle = lt_peer.add(running, torrent, folder, flags)
    handle.add_tracker({"url": tracker})
    return handle


def leech(torrent, folder, address, tracker):
    """Fetch, then share until ended."""
    running = session(address)
    handle = add(running, torrent, folder, tracker, 0)
    first, done = False, False
    while True:
        running.wait_for_alert(20 if not first else 1000)
        for alert in running.pop_alerts():
            done = done or isinstance(alert, lt.torrent_finished_alert)
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                sys.exit(alert.message())
        if not first and (done or handle.status().num_pieces):
            first = True
            print("first", flush=True)
        if done:
            print("done", handle.status().total_payload_download, flush=True)
            break
    share(running)


def seed(torrent, folder, address, tracker):
    """Share a file that is known to be whole."""
    running = session(address)
    add(running, torrent, folder, tracker, lt.torrent_flags.seed_mode)
    share(running)


def share(running):
    """Go on until ended."""
    while True:
        running.wait_for_alert(1000)
        running.pop_alerts()


def main():
    """Reads the command line."""
    role, *rest = sys.argv[1:]
    if role == "seed":
        seed(*rest)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print("ready", flush=True)
    if rest[4:] != ["now"]:
        signal.sigwait([signal.SIGUSR1])
    leech(*rest[:4])


if __name__ == "__main__":
    main()
