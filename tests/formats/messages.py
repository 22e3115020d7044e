"""The messages of a session as bytes. Written from core/PROTOCOL.md, sections 4 to 6, alone."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from content import Wrong  # noqa: E402
from libp2p_min import read_varint, varint  # noqa: E402


class Number:
    def __init__(self, bits):
        self.bits = bits

    def write(self, value):
        assert 0 <= value < 1 << self.bits
        return varint(value)

    def read(self, data, at):
        value, at = read_varint(data, at, -(-self.bits // 7))
        if value >= 1 << self.bits:
            raise ValueError("a number is too large")
        return value, at


class Byte:
    """A byte, or with `most` 1 a bool."""

    def __init__(self, most=255):
        self.most = most

    def write(self, value):
        return bytes([value])

    def read(self, data, at):
        if at >= len(data) or data[at] > self.most:
            raise ValueError("no such byte")
        return (bool(data[at]) if self.most == 1 else data[at]), at + 1


class Fixed:
    """Bytes of a known length."""

    def __init__(self, length):
        self.length = length

    def write(self, value):
        assert len(value) == self.length
        return value

    def read(self, data, at):
        if at + self.length > len(data):
            raise ValueError("it ends too early")
        return data[at:at + self.length], at + self.length


class Bytes:
    def write(self, value):
        return varint(len(value)) + value

    def read(self, data, at):
        length, at = read_varint(data, at)
        return Fixed(length).read(data, at)


class String(Bytes):
    def write(self, value):
        return super().write(value.encode())

    def read(self, data, at):
        value, at = super().read(data, at)
        return value.decode(), at


class Option:
    def __init__(self, of):
        self.of = of

    def write(self, value):
        return b"\0" if value is None else b"\x01" + self.of.write(value)

    def read(self, data, at):
        there, at = Byte(1).read(data, at)
        return self.of.read(data, at) if there else (None, at)


class Items:
    """A list."""

    def __init__(self, of):
        self.of = of

    def write(self, value):
        return varint(len(value)) + b"".join(self.of.write(one) for one in value)

    def read(self, data, at):
        count, at = read_varint(data, at)
        # Each entry has a byte at least: no room is made for what cannot be there.
        if count > len(data) - at:
            raise ValueError("a list is too long")
        found = []
        for _ in range(count):
            one, at = self.of.read(data, at)
            found.append(one)
        return found, at


class Fields:
    """Named values, one after the other; they are a dictionary here."""

    def __init__(self, **fields):
        self.fields = fields

    def write(self, value):
        assert value.keys() == self.fields.keys()
        return b"".join(of.write(value[name]) for name, of in self.fields.items())

    def read(self, data, at=0):
        found = {}
        for name, of in self.fields.items():
            found[name], at = of.read(data, at)
        return found, at


class Variant:
    """An enum: here a list of the variant's number and, if it has one, its value."""

    def __init__(self, *variants):
        self.variants = variants

    def write(self, value):
        of = self.variants[value[0]]
        return varint(value[0]) + (of.write(value[1]) if of else b"")

    def read(self, data, at):
        number, at = Number(32).read(data, at)
        if number >= len(self.variants):
            raise ValueError("no such variant")
        if self.variants[number] is None:
            return [number], at
        value, at = self.variants[number].read(data, at)
        return [number, value], at


class Choice(Number):
    """An enum whose variants are nothing but names."""

    def __init__(self, count):
        super().__init__(32)
        self.count = count

    def read(self, data, at):
        value, at = super().read(data, at)
        if value >= self.count:
            raise ValueError("no such variant")
        return value, at


U8, U16, U32, U64, BOOL = Byte(), Number(16), Number(32), Number(64), Byte(1)
ID, BYTES, STRING, CHAIN = Fixed(32), Bytes(), String(), Items(Bytes())
HAVE = Variant(None, Items(Fields(first=U32, count=U32)), BYTES)
KIND, WHY = Choice(3), Choice(2)
PEERS = Items(Fields(peer=BYTES, addrs=Items(BYTES)))
BEAT = Fields(tag=U64, number=U32, whole=BOOL, age=U32)
VERSION = 1
MESSAGES = [
    ("Hello", Fields(version=U16, agent=STRING, tcp=Items(U16), quic=Items(U16), site=Option(STRING),
                     relayed=Items(BYTES), dht=Items(U16))),
    ("Want", Fields(blob=U32, id=ID)),
    ("Offer", Fields(blob=U32, kind=KIND, len=U64, name=Option(STRING), origin=BOOL, have=HAVE)),
    ("Absent", Fields(blob=U32)),
    ("List", Fields(blob=U32)),
    ("Have", Fields(blob=U32, add=HAVE)),
    ("Request", Fields(blob=U32, first=U32, count=U32)),
    ("Decline", Fields(blob=U32, chunk=U32, why=WHY)),
    ("Cancel", Fields(blob=U32, chunk=U32)),
    ("Gone", Fields(blob=U32)),
    ("Bad", Fields(blob=U32, chunk=U32)),
    ("Peers", Fields(blob=U32, peers=PEERS)),
    ("Ping", Fields(number=U64)),
    ("Pong", Fields(number=U64)),
    ("Unwant", Fields(blob=U32)),
    ("Need", Fields(blob=U32, add=HAVE, drop=HAVE)),
    ("Grant", Fields(blob=U32, count=U32, hint=Option(U32))),
    ("Refuse", Fields(blob=U32, count=U32, busy=BOOL)),
    ("Gateways", Fields(id=ID, beats=Items(BEAT))),
    ("Seek", Fields(id=ID, on=BOOL)),
    ("HaveIt", Fields(id=ID)),
    ("StateDigest", Fields(digest=ID)),
    ("Statement", Fields(about=U8, by=BYTES, statement=BYTES)),
    ("Certified", Fields(chain=CHAIN)),
    ("Renew", Fields()),
    ("Voucher", Fields(blob=U32, voucher=BYTES, chain=CHAIN)),
    ("Members", Fields(peers=PEERS)),
    ("FindMember", Fields(name=STRING)),
    ("FoundMembers", Fields(chains=Items(CHAIN))),
    ("Banned", Fields(secs=U64, reason=STRING)),
    ("Reads", Fields(blob=U32)),
    ("Begin", Fields(blob=U32)),
    ("Push", Fields(blob=U32, chunk=U32)),
    ("Closing", Fields(reason=STRING)),
]
NUMBERS = {name: number for number, (name, _) in enumerate(MESSAGES)}


def encode(name, /, **fields):
    """A control frame, its length included."""
    kind = NUMBERS[name]
    body = bytes([kind]) + MESSAGES[kind][1].write(fields)
    return struct.pack("<I", len(body)) + body


def decode(frame):
    """Name and fields of a frame without its length; nothing if it is of a kind that this program does not know."""
    if frame[0] >= len(MESSAGES):
        return None
    name, of = MESSAGES[frame[0]]
    try:
        if name == "Hello" and (version := U16.read(frame, 1)[0]) != VERSION:
            raise Wrong(f"the peer speaks version {version}, this program speaks {VERSION}")
        # Bytes behind the fields are those of a later version.
        fields, _ = of.read(frame, 1)
    except ValueError as error:
        raise Wrong(f"a {name} that cannot be read: {error}") from error
    return name, fields


def chunks_of(have, count):
    """The chunks of a Have, of a blob with so many."""
    if have[0] == 0:
        return set(range(count))
    found, free = set(), 0
    if have[0] == 1:
        for run in have[1]:
            end = run["first"] + run["count"]
            if run["first"] < free or run["count"] == 0 or end > count:
                raise Wrong("a set of chunks that cannot be")
            found.update(range(run["first"], end))
            free = end + 1
        return found
    bits = int.from_bytes(have[1], "little")
    if len(have[1]) != -(-count // 8) or bits >> count:
        raise Wrong("a set of chunks that cannot be")
    return {chunk for chunk in range(count) if bits >> chunk & 1}


def runs_of(chunks):
    """Neighbouring chunks together, as (first, count)."""
    runs = []
    for chunk in sorted(chunks):
        if runs and sum(runs[-1]) == chunk:
            runs[-1][1] += 1
        else:
            runs.append([chunk, 1])
    return runs


def have_of(chunks, count):
    if len(chunks) == count:
        return [0]
    runs = runs_of(chunks)
    if len(runs) <= 512:
        return [1, [{"first": first, "count": many} for first, many in runs]]
    return [2, sum(1 << chunk for chunk in chunks).to_bytes(-(-count // 8), "little")]
