"""The yardsticks: nginx + curl, libtorrent, aria2 and b3sum, each as one seeder and one getter.

Seeder and getter are on loopback, or on the two `hosts` that nginx and libtorrent may be given. Every function runs
its contestant once and returns a sample (see report.COLUMNS). The seeder is started anew for each run and its CPU
time counted only while it serves, so that start-up and hashing do not weigh on it; the getter is counted from process
start to exit. Where a choice had to be made it favours the yardstick.
"""

import http.server
import json
import os
import random
import socket
import struct
import threading
import time
import urllib.parse

from netns import LOOPBACK
from procs import until

GB = 1e9
SYSTEM_PYTHON = "/usr/bin/python3"  # python3-libtorrent belongs to it, not to a pyenv one
PACKAGES = {"nginx": "nginx-light", "curl": "curl", "aria2c": "aria2", "b3sum": "b3sum", "openssl": "openssl",
            "libtorrent": "python3-libtorrent", "ip": "iproute2"}

# Debian's nginx.conf as far as it touches throughput (sendfile, tcp_nopush, one worker per CPU), on our own ports.
NGINX = """
{user} worker_processes auto; pid {root}/nginx.pid; error_log stderr; daemon off;
events {{ worker_connections 768; }}
http {{
    sendfile on; tcp_nopush on; access_log off; default_type application/octet-stream;
    client_body_temp_path {root}/nginx.tmp; proxy_temp_path {root}/nginx.tmp; fastcgi_temp_path {root}/nginx.tmp;
    uwsgi_temp_path {root}/nginx.tmp; scgi_temp_path {root}/nginx.tmp;
    server {{
        listen {address}:{port}{ssl};
        ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem; ssl_protocols TLSv1.3;
        root {folder};
    }}
}}
"""


def served(bench, size, seeders, getter):
    """Run `getter()` (which starts and awaits the getter) against running seeders; the sample of both sides."""
    bench.prime(size)
    before = sum(seeder.cpu() for seeder in seeders)
    proc, seconds, cpu = getter()
    return {"mb_s": size / 1e6 / seconds, "seconds": seconds,
            "get_cpu_s_gb": cpu / (size / GB),
            "seed_cpu_s_gb": (sum(seeder.cpu() for seeder in seeders) - before) / (size / GB),
            "seed_rss_mib": max(seeder.peak_mib() for seeder in seeders), "get_rss_mib": proc.peak_mib()}


def finish(bench, name, argv, timeout, watch=None):
    """Start a getter and await its end: the process, its seconds and its CPU seconds."""
    proc = bench.spawn(name, argv)
    try:
        seconds = proc.wait(timeout, watch)
    finally:
        proc.stop()
    return proc, seconds, proc.usage.ru_utime + proc.usage.ru_stime


def nginx(bench, source, tls, hosts=(LOOPBACK, LOOPBACK)):
    """nginx serves, curl fetches; over TLS 1.3 with a self-signed certificate, or plain."""
    name, size, out = "nginx-https" if tls else "nginx-http", os.path.getsize(source), bench.fresh("curl")
    if tls and not os.path.exists(bench.path("cert.pem")):
        bench.call("openssl", ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                               "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", bench.path("key.pem"),
                               "-out", bench.path("cert.pem")])
    port, conf = bench.port(), bench.path("nginx.conf")
    text = NGINX.format(user="user root;" if os.geteuid() == 0 else "", root=bench.root, port=port,
                        address=hosts[0].address, ssl=" ssl" if tls else "", folder=os.path.dirname(source))
    if not tls:
        text = "\n".join(line for line in text.splitlines() if "ssl_certificate" not in line)
    with open(conf, "w", encoding="utf-8") as file:
        file.write(text)
    server = bench.spawn(name, hosts[0].argv("nginx", "-p", bench.root, "-e", "stderr", "-c", conf))
    try:
        server.port_open(port)
        url = f"{'https' if tls else 'http'}://{hosts[0].address}:{port}/{os.path.basename(source)}"
        argv = hosts[1].argv("curl", "-q", "-sS", "-f", "-k", "--noproxy", "*", "-o", out, url)
        sample = served(bench, size, [server], lambda: finish(bench, "curl", argv, bench.patience(size)))
        bench.same(source, out)
        return sample
    finally:
        server.stop()
        bench.remove(out)


def torrent(bench, source):
    """The v1 torrent of `source`, made once."""
    path = source + ".torrent"
    if not os.path.exists(path):
        bench.call("torrent", lt_peer("make", source, path))
    return path


def lt_peer(*args):
    """The command line of lt_peer.py."""
    return [SYSTEM_PYTHON, "-B", os.path.join(os.path.dirname(os.path.abspath(__file__)), "lt_peer.py"), *args]


def libtorrent(bench, source, hosts=(LOOPBACK, LOOPBACK)):
    """libtorrent 2.0 to libtorrent 2.0. Seconds and CPU are the leecher's own, without Python's start."""
    size, folder, file, own = os.path.getsize(source), bench.fresh("libtorrent"), torrent(bench, source), {}
    os.mkdir(folder)
    argv = lt_peer("seed", file, os.path.dirname(source), hosts[0].address)
    seeder = bench.spawn("libtorrent-seeder", hosts[0].argv(*argv), pipe=True)
    try:
        port = seeder.line(r"^ready (\d+)", 30)[0].group(1)

        def leech():
            argv = hosts[1].argv(*lt_peer("leech", file, folder, hosts[1].address, hosts[0].address, port))
            proc, _, _ = finish(bench, "libtorrent-leecher", argv, bench.patience(size))
            own.update(json.loads(proc.output()))
            return proc, own["seconds"], own["cpu"]
        sample = served(bench, size, [seeder], leech)
        sample["transfer_mb_s"] = size / 1e6 / own["transfer"]
        bench.same(source, os.path.join(folder, os.path.basename(source)))
        return sample
    finally:
        seeder.stop()
        bench.remove(folder)


class Tracker(http.server.ThreadingHTTPServer):
    """The least BitTorrent tracker: aria2 has no option to add a peer, so it must be told of one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address="127.0.0.1", port=0, interval=1800):
        super().__init__((address, port), TrackerRequest)
        self.interval, self.peers = interval, set()
        self.url = f"http://{address}:{self.server_port}/announce"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class TrackerRequest(http.server.BaseHTTPRequestHandler):
    """Remembers from where it was announced, and answers with some of all the others."""

    def do_GET(self):
        """One announce: BEP 3 with the compact answer of BEP 23."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query, encoding="latin-1"))
        me, peers = (self.client_address[0], int(query["port"])), self.server.peers
        others = [peer for peer in list(peers) if peer != me]
        some = random.sample(others, min(len(others), int(query.get("numwant", 50))))
        if query.get("event") == "stopped":
            peers.discard(me)
        else:
            peers.add(me)
        compact = b"".join(socket.inet_aton(address) + struct.pack(">H", port) for address, port in some)
        body = b"d8:intervali%de5:peers%d:%se" % (self.server.interval, len(compact), compact)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Silence: announces are no news."""


def aria2(bench, source):
    """aria2 to aria2 over BitTorrent, introduced by a tracker of our own. No preallocation: it would write twice.

    aria2 acts once a second, so that some 3 s of its time are waiting for the first peer and for its own end: the
    transfer figure counts from the first data in the file (seen within 50 ms) to the last write to it.
    """
    size, folder, tracker, file = os.path.getsize(source), bench.fresh("aria2"), Tracker(), torrent(bench, source)
    out, first = os.path.join(folder, os.path.basename(source)), []

    def watch():
        if not first and os.path.exists(out) and os.stat(out).st_blocks:
            first.append(time.time())
    common = ["aria2c", "--no-conf", "--quiet", f"--bt-tracker={tracker.url}", "--interface=127.0.0.1", "--no-proxy=*",
              "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false",
              "--disable-ipv6=true", "--file-allocation=none"]
    port = bench.port()
    seeder = bench.spawn("aria2-seeder", common + [f"--listen-port={port}", f"--dir={os.path.dirname(source)}",
                                                   "--seed-ratio=0.0", "--bt-seed-unverified=true", file])
    try:
        # Not port_open(): the probe would be a peer that hangs up, and aria2 would hold it against the address.
        until(lambda: tracker.peers or not seeder.alive(), "aria2 to announce itself")
        leech = common + [f"--listen-port={bench.port()}", f"--dir={folder}", "--seed-time=0", file]
        sample = served(bench, size, [seeder], lambda: finish(bench, "aria2-leecher", leech, bench.patience(size),
                                                                   watch))
        bench.same(source, out)
        transfer = os.stat(out).st_mtime - first[0] if first else 0
        if transfer > 0.2:  # below that the 50 ms are too coarse
            sample["transfer_mb_s"] = size / 1e6 / transfer
        return sample
    finally:
        seeder.stop()
        tracker.shutdown()
        tracker.server_close()
        bench.remove(folder)


def b3sum(bench, source):
    """b3sum of the file, with all its threads, as `swarm publish` may use all of its own."""
    _, seconds, cpu = finish(bench, "b3sum", ["b3sum", source], bench.patience(os.path.getsize(source)))
    return {"seconds": seconds, "cpu_s": cpu}
