"""One libtorrent 2.0 peer, for the system python3 (Debian: python3-libtorrent). Started by yardsticks.py.

`make FILE TORRENT [PIECE LENGTH]` writes a v1 torrent; `seed TORRENT DIR ADDRESS` prints `ready PORT` and seeds until
ended; `leech TORRENT DIR ADDRESS PEER PORT` downloads from PEER:PORT and prints one JSON line; ADDRESS is the peer's
own. The leecher times itself from before its session to the last verified piece, so that neither the start of Python
nor the import weighs on the yardstick. Settings are libtorrent's defaults but: one address only, no discovery, plain
TCP (no uTP, no encryption).
"""

import json
import os
import sys
import time

import libtorrent as lt

SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(lt.enc_policy.disabled),
    "out_enc_policy": int(lt.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,
    "alert_mask": int(lt.alert.category_t.status_notification | lt.alert.category_t.error_notification),
}


def make(source, torrent, piece="0"):
    """Hash `source` into a torrent that both libtorrent and aria2 read (aria2 knows only v1).

    Without a piece length libtorrent chooses one. The torrent names no tracker: libtorrent connects its peer by hand,
    aria2 is given ours on the command line.
    """
    files = lt.file_storage()
    lt.add_files(files, source)
    made = lt.create_torrent(files, int(piece), flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, os.path.dirname(source))
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def add(session, torrent, folder, flags=0):
    """Add the torrent, running and not managed by the queue."""
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.flags = flags
    return session.add_torrent(params)


def listening(address):
    """A session that listens on a free port of this address."""
    return lt.session(SETTINGS | {"listen_interfaces": f"{address}:0"})


def seed(torrent, folder, address):
    """Seed until ended. seed_mode: the file is known to be whole, as after a fresh download."""
    session = listening(address)
    handle = add(session, torrent, folder, lt.torrent_flags.seed_mode)
    while not handle.status().is_seeding or not session.listen_port():
        session.wait_for_alert(10)
        session.pop_alerts()
    print("ready", session.listen_port(), flush=True)
    while True:
        session.wait_for_alert(1000)
        session.pop_alerts()


def leech(torrent, folder, address, peer, port):
    """Download from the one peer, print seconds, those of them since the first payload, and CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    session = listening(address)
    handle = add(session, torrent, folder)
    handle.connect_peer((peer, port))
    finished, first = False, None
    while not finished:
        session.wait_for_alert(1000 if first else 20)
        if not first and handle.status().total_payload_download:
            first = time.perf_counter()
        for alert in session.pop_alerts():
            finished = finished or isinstance(alert, lt.torrent_finished_alert)
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                sys.exit(alert.message())
    end = time.perf_counter()
    print(json.dumps({"seconds": end - start, "transfer": end - (first or start), "cpu": time.process_time() - cpu}),
          flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    elif sys.argv[1] == "seed":
        seed(*sys.argv[2:])
    else:
        leech(*sys.argv[2:6], int(sys.argv[6]))
