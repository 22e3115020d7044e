#!/usr/bin/env python3
"""Fetches a file or a directory from a node of swarm, by core/PROTOCOL.md and core/FORMATS.md alone: it shares no code with swarm.

    client.py get LINK|ID [PEER] -o PATH   fetches it from the first peer of the link or from PEER, verifies it, and writes it
                                           to PATH, where nothing may be yet
        --corrupt [chunk|list]             flips a bit in what arrives before it is verified, which must be noticed
    client.py manifests                    reads manifests in hexadecimal digits, one a line, and says of each whether it is one
    client.py vectors                      the bytes in core/vectors/wire.json and core/PROTOCOL.md are what this program makes

Exit codes: 0 done, 1 it cannot be had, 2 wrong use, 3 the peer sent wrong bytes, 4 the disk.

Needs python3-cryptography.
"""

import argparse
import json
import os
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import content  # noqa: E402
import libp2p_min  # noqa: E402
from content import Geometry, HashList, Manifest, Mode, Wrong  # noqa: E402
from libp2p_min import Broken  # noqa: E402
from messages import MESSAGES, VERSION, chunks_of, decode, encode, runs_of  # noqa: E402

CORE = Path(__file__).parent.parent.parent / "core"
AGENT = "swarm-client.py/1"
LIST = 0xFFFFFFFF
FRAME = 65536
# Bytes that may be asked for and not verified.
UNDER_WAY = 8 << 20
# Seconds without a byte of what was asked for, after which a peer is given up.
PATIENCE = 60


class Refused(Exception):
    """The peer has it not, or does not give it."""


# ---- a session: sections 3, 4 and 8 ----------------------------------------------------------------------------------


class Session:
    """A session with one peer: what is wanted is fetched from it alone, one blob after the other."""

    def __init__(self, address, corrupt=None):
        self.mux, self.peer = libp2p_min.dial(address)
        self.control = self.mux.open("/swarm/chunk/1/control")
        self.data = self.mux.open("/swarm/chunk/1/data")
        self.handle, self.corrupt = 0, corrupt
        self.say("Hello", version=VERSION, agent=AGENT, tcp=[], quic=[], site=None, relayed=[], dht=[])
        name, hello = self.next_message()
        if name != "Hello":
            raise Wrong(f"the peer begins with {name}")
        if hello["version"] != VERSION:
            raise Refused(f"the peer speaks version {hello['version']}, this program speaks {VERSION}")

    def say(self, name, /, **fields):
        self.control.write(encode(name, **fields))

    def message(self):
        """A message that has arrived as a whole, if one has; those that are the session's own business are dealt with."""
        while len(self.control.received) >= 4:
            (length,) = struct.unpack("<I", self.control.received[:4])
            if not 1 <= length <= FRAME:
                raise Wrong(f"a control frame of {length} bytes")
            if len(self.control.received) < 4 + length:
                return None
            message = decode(self.control.take(4 + length)[4:])
            match message:
                case ("Ping", fields):
                    self.say("Pong", **fields)
                case ("Banned", fields):
                    raise Refused(f"the peer keeps this program away for {fields['secs']} s: {fields['reason']}")
                case ("Closing", fields):
                    raise Refused(f"the peer has ended the session: {fields['reason']}")
                case None:
                    pass
                case _:
                    return message
        return None

    def next_message(self):
        while (message := self.message()) is None:
            if self.control.ended:
                raise Broken("the peer has ended the session")
            self.mux.pump()
        return message

    def frame(self):
        """A data frame that has arrived as a whole, if one has: blob, chunk, offset, bytes."""
        if len(self.data.received) < 16:
            return None
        blob, chunk, offset, length = struct.unpack("<4I", self.data.received[:16])
        if not 1 <= length <= FRAME:
            raise Wrong(f"a data frame of {length} bytes")
        if len(self.data.received) < 16 + length:
            return None
        return blob, chunk, offset, self.data.take(16 + length)[16:]

    def fetch(self, identity, kind=None, length=None):
        """The kind and the bytes of a blob, verified; of the kind and length that somebody has proven, if they are given."""
        self.handle += 1
        self.say("Want", blob=self.handle, id=identity)
        fetch = Fetch(self, self.handle, identity)
        while fetch.offer is None:
            fetch.step()
        if (kind is not None and fetch.kind != kind) or (length is not None and fetch.geometry.length != length):
            raise Wrong("the peer offers something of another kind or length")
        fetch.learn()
        fetch.take_all()
        self.say("Unwant", blob=self.handle)
        return fetch.kind, b"".join(fetch.chunks[number] for number in range(fetch.geometry.chunks))

    def close(self):
        self.mux.close()


class Fetch:
    """One want, from its offer to its last chunk."""

    def __init__(self, session, handle, identity):
        self.session, self.handle, self.identity = session, handle, identity
        self.offer, self.grants, self.list, self.moved = None, [], None, time.monotonic()
        self.held, self.chunks = set(), {}
        # Asked for and not whole; asked for and not verified; as far as they have come; whole, with their bytes.
        self.asked, self.pending, self.coming, self.arrived = set(), set(), {}, []

    def say(self, name, /, **fields):
        self.session.say(name, blob=self.handle, **fields)

    def hear(self, name, fields):
        if fields.get("blob") != self.handle:
            return
        match name:
            case "Offer":
                before, said = self.offer, (fields["kind"], fields["len"])
                if before is not None and said != (before["kind"], before["len"]):
                    raise Wrong("the peer offers another kind or length than before")
                self.offer, self.kind = fields, fields["kind"]
                self.geometry = Geometry(fields["len"])
                self.held = chunks_of(fields["have"], self.geometry.chunks)
            case "Absent" | "Gone":
                raise Refused("the peer has nothing of it")
            case "Have" if self.offer is not None:
                self.held |= chunks_of(fields["add"], self.geometry.chunks)
            case "Grant":
                self.grants.append((fields["count"], fields["hint"]))
            case "Decline":
                self.declined(fields["chunk"], fields["why"])

    def declined(self, chunk, why):
        if chunk == LIST:
            raise Refused("the peer does not send the hash list")
        self.asked.discard(chunk)
        self.pending.discard(chunk)
        self.coming.pop(chunk, None)
        if why == 1:
            self.held.discard(chunk)
            if not self.held - self.chunks.keys():
                raise Refused("the peer has lost the rest of it")

    def step(self, wait=True):
        """Takes in one thing that the peer says. False if there is none; then it may `wait` for one."""
        if (message := self.session.message()) is not None:
            self.hear(*message)
        elif (frame := self.session.frame()) is not None:
            self.frame(*frame)
        elif not wait and not self.session.mux.below.has_more():
            return False
        elif self.session.control.ended or self.session.data.ended:
            raise Broken("the peer has ended the session")
        elif time.monotonic() > self.moved + PATIENCE:
            raise Broken(f"nothing of it has come for {PATIENCE} s")
        else:
            self.session.mux.pump()
        return True

    def frame(self, blob, chunk, offset, data):
        """A part of a chunk; when it is whole, it has arrived."""
        if blob != self.handle:
            return
        if chunk not in self.asked:
            raise Wrong(f"the peer sends part {chunk} of {blob}, which was not asked for")
        part = self.coming.setdefault(chunk, bytearray())
        size = self.geometry.list_length() if chunk == LIST else self.geometry.size_of(chunk)
        if offset != len(part) or offset + len(data) > size:
            raise Wrong("the peer sends a part where it does not belong")
        part += data
        self.moved = time.monotonic()
        if len(part) < size:
            return
        self.asked.discard(chunk)
        whole = self.coming.pop(chunk)
        if self.session.corrupt == ("list" if chunk == LIST else "chunk"):
            whole[len(whole) // 2] ^= 0x10
        self.arrived.append((chunk, bytes(whole)))

    def learn(self):
        """Proves what was offered: length and kind. Of one chunk that is done by the chunk."""
        if self.geometry.length == 0 and Mode(self.kind).digest(b"") != self.identity:
            raise Wrong("the peer says that there is nothing in it")
        data = b""
        if self.geometry.chunks > 1:
            self.asked.add(LIST)
            self.say("List")
            while not self.arrived:
                self.step()
            data = self.arrived.pop()[1]
        self.list = HashList(self.identity, self.kind, self.geometry, data)

    def take_all(self):
        count = self.geometry.chunks
        if count == 1:
            self.asked.add(0)
            self.pending.add(0)
            self.say("Request", first=0, count=1)
        elif count > 1:
            self.say("Need", add=[0], drop=[1, []])
        while len(self.chunks) < count:
            self.answer_grants()
            # A grant that is answered late is given to others: nothing is hashed while anything else is to be heard.
            if self.step(wait=not self.arrived):
                continue
            chunk, data = self.arrived.pop()
            if not self.list.verify(chunk, data):
                self.say("Bad", chunk=chunk)
                raise Wrong(f"chunk {chunk} is not what it should be")
            self.chunks[chunk] = data
            self.pending.discard(chunk)

    def answer_grants(self):
        """Each granted chunk is answered: by a request, or by a refusal where nothing is needed or there is no room."""
        for count, hint in self.grants:
            wanted = sorted(self.held - self.chunks.keys() - self.pending)
            room = max(0, UNDER_WAY // self.geometry.size - len(self.pending))
            if hint in wanted:
                wanted.remove(hint)
                wanted.insert(0, hint)
            taken = wanted[:min(count, max(room, not self.pending))]
            for first, many in runs_of(taken):
                self.pending.update(range(first, first + many))
                self.asked.update(range(first, first + many))
                self.say("Request", first=first, count=many)
            if len(taken) < count:
                self.say("Refuse", count=count - len(taken), busy=len(taken) < len(wanted))
        self.grants.clear()


# ---- what is done with it --------------------------------------------------------------------------------------------


def write_file(path, data, executable=False):
    """Makes a file that is not there yet."""
    mode = 0o777 if executable else 0o666
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(data)


def write_directory(root, manifest, payload):
    root.mkdir()
    at, links = 0, []
    for name, kind, what in manifest.entries:
        path = root / name
        (path if kind == 2 else path.parent).mkdir(parents=True, exist_ok=True)
        if kind < 2:
            data = payload[at:at + what[0]]
            at += what[0]
            # The payload is verified: the manifest lies about its own files.
            if Mode(content.FILE).digest(data) != what[1]:
                raise Wrong(f"the manifest gives {name!r} another id than its bytes have")
            write_file(path, data, executable=kind == 1)
        elif kind == 3:
            links.append((path, what))
    for path, target in links:
        path.symlink_to(target)


def get(target, peer, out, corrupt):
    identity, _, peers = content.read_link(target)
    peers = [peer] if peer else [one for one in peers if "/tcp/" in one and "p2p-circuit" not in one]
    if not peers:
        raise ValueError("the link names no peer that is reached by TCP: give one")
    if os.path.lexists(out):
        raise FileExistsError(f"{out} is there already")
    session = Session(peers[0], corrupt)
    kind, data = session.fetch(identity)
    if kind == content.SHARE:
        raise Refused("it is a share, which this program does not open")
    if kind == content.FILE:
        session.close()
        write_file(out, data)
        return f"{len(data)} bytes"
    manifest = Manifest(data)
    payload = b""
    if manifest.length:
        _, payload = session.fetch(manifest.payload, content.FILE, manifest.length)
    session.close()
    write_directory(Path(out), manifest, payload)
    return f"{len(manifest.entries)} entries, {len(payload)} bytes"


def from_json(value):
    """A value of the vectors: bytes are written as hexadecimal digits behind 0x."""
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if isinstance(value, dict):
        return {name: from_json(one) for name, one in value.items()}
    return value


def vectors():
    made = json.loads((CORE / "vectors/wire.json").read_text())
    document = "".join((CORE / "PROTOCOL.md").read_text().split())
    for vector in made["messages"]:
        name, fields, frame = vector["message"], from_json(vector["fields"]), bytes.fromhex(vector["frame"])
        assert encode(name, **fields) == frame, f"{name}: {encode(name, **fields).hex()}"
        assert decode(frame[4:]) == (name, fields), name
        assert not vector.get("shown") or vector["frame"] in document, f"{name} is not in PROTOCOL.md"
    assert [vector["message"] for vector in made["messages"]] == [name for name, _ in MESSAGES]
    for vector in made["lists"]:
        geometry, kind = Geometry(vector["length"]), vector["kind"]
        assert (geometry.size, geometry.chunks, geometry.list_length()) == tuple(
            vector[name] for name in ("chunk_size", "chunks", "list_length")), vector["length"]
        if "id" not in vector:
            continue
        data = bytes(at % 251 for at in range(vector["length"]))
        assert Mode(kind).digest(data).hex() == vector["id"]
        listed = HashList(bytes.fromhex(vector["id"]), kind, geometry, bytes.fromhex(vector["list"]))
        for chunk in range(geometry.chunks):
            part = data[chunk * geometry.size:(chunk + 1) * geometry.size]
            assert listed.verify(chunk, part) and not listed.verify(chunk, part[:-1] + bytes([part[-1] ^ 1]))
    for vector in made["manifests"]:
        data = bytes.fromhex(vector["bytes"])
        assert Mode(content.DIRECTORY).digest(data).hex() == vector["id"]
        assert [path for path, _, _ in Manifest(data).entries] == vector["paths"]
    for vector in made["links"]:
        wanted = bytes.fromhex(vector["id"]), vector["name"], vector["peers"]
        assert content.read_link(vector["link"]) == wanted, vector["link"]


def manifests():
    for line in sys.stdin:
        try:
            print(f"good, {len(Manifest(bytes.fromhex(line)).entries)} entries")
        except Wrong as error:
            print(f"refused: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("get")
    fetch.add_argument("target")
    fetch.add_argument("peer", nargs="?")
    fetch.add_argument("-o", "--out", required=True)
    fetch.add_argument("--corrupt", nargs="?", const="chunk", choices=["chunk", "list"])
    commands.add_parser("manifests")
    commands.add_parser("vectors")
    args = parser.parse_args()
    try:
        if args.command == "vectors":
            vectors()
        elif args.command == "manifests":
            manifests()
        else:
            print(get(args.target, args.peer, args.out, args.corrupt))
    except Wrong as error:
        return f"wrong bytes: {error}", 3
    except (Refused, Broken) as error:
        return f"cannot be had: {error}", 1
    except OSError as error:
        return f"the disk: {error}", 4
    except ValueError as error:
        return f"{error}", 2
    return None, 0


if __name__ == "__main__":
    said, code = main()
    if said:
        print(said, file=sys.stderr)
    sys.exit(code)
