"""As much of libp2p as a client of swarm needs that dials and never listens: TCP, multistream-select, Noise, yamux.

Written from core/PROTOCOL.md, section 2. Everything happens in the caller's thread: who reads a stream drives the connection.
Needs python3-cryptography.
"""

import hashlib
import hmac
import ipaddress
import select as polling
import socket
import struct

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError:
    raise SystemExit("this needs python3-cryptography: apt-get install python3-cryptography")

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# Before an Ed25519 public key: its protobuf message, and the multihash around that.
ED25519 = bytes.fromhex("08011220")
IDENTITY = bytes.fromhex("0024")


class Broken(Exception):
    """The connection ended, or the other end broke the rules of the transport."""


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data, at, most=10):
    """The number at a place, and the place behind it."""
    value = 0
    for step in range(most):
        if at >= len(data):
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * step)
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")


def base58(text):
    number = 0
    for letter in text:
        number = number * 58 + BASE58.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def to_base58(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def read_address(text):
    """Host, port and peer id (or nothing) of /ip4|ip6/HOST/tcp/PORT[/p2p/PEER]."""
    parts = text.split("/")[1:]
    if len(parts) not in (4, 6) or parts[0] not in ("ip4", "ip6") or parts[2] != "tcp":
        raise ValueError(f"not an address of TCP: {text}")
    ipaddress.ip_address(parts[1])
    if len(parts) == 6 and parts[4] != "p2p":
        raise ValueError(f"not an address of a node: {text}")
    return parts[1], int(parts[3]), base58(parts[5]) if len(parts) == 6 else None


def protobuf(fields):
    """A message of byte fields."""
    return b"".join(bytes([number << 3 | 2]) + varint(len(data)) + data for number, data in fields)


def read_protobuf(data):
    """The byte fields of a message by number; others are skipped."""
    found, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 2:
            length, at = read_varint(data, at)
            if at + length > len(data):
                raise ValueError("a field is cut off")
            found[tag >> 3] = data[at:at + length]
            at += length
        elif tag & 7 == 0:
            _, at = read_varint(data, at)
        else:
            raise ValueError("a field of an odd kind")
    return found


class Socket:
    """A TCP connection that gives exactly as many bytes as are asked for."""

    def __init__(self, host, port, patience):
        try:
            self.socket = socket.create_connection((host, port), patience)
        except OSError as error:
            raise Broken(f"nobody answers at {host} port {port}: {error}") from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except OSError as error:
                raise Broken(f"the other end says nothing more: {error}") from error
            if not part:
                raise Broken("the other end has closed the connection")
            data += part
        return bytes(data)

    def write(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Broken(f"the connection is lost: {error}") from error

    def has_more(self):
        """There is something to be read now."""
        return bool(polling.select([self.socket], [], [], 0)[0])

    def close(self):
        self.socket.close()


def say(channel, *names):
    """Messages of multistream-select."""
    channel.write(b"".join(varint(len(name) + 1) + name.encode() + b"\n" for name in names))


def hear(channel):
    length = 0
    for shift in (0, 7):
        byte = channel.read(1)[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    name = channel.read(length)
    if not name.endswith(b"\n"):
        raise Broken("a name without an end in multistream-select")
    return name[:-1].decode(errors="replace")


def select(channel, name):
    """Agrees on one protocol, as the end that proposes it."""
    say(channel, "/multistream/1.0.0", name)
    answer = (hear(channel), hear(channel))
    if answer != ("/multistream/1.0.0", name):
        raise Broken(f"the other end does not speak {name}")


class Cipher:
    """A key of Noise and the number of its next message."""

    def __init__(self, key):
        self.cipher, self.number = ChaCha20Poly1305(key), 0

    def nonce(self):
        self.number += 1
        return bytes(4) + struct.pack("<Q", self.number - 1)

    def seal(self, data, aad=b""):
        return self.cipher.encrypt(self.nonce(), data, aad)

    def open(self, data, aad=b""):
        try:
            return self.cipher.decrypt(self.nonce(), data, aad)
        except InvalidTag as error:
            raise Broken("what arrived was not encrypted for us") from error


def derive(chain, secret):
    """Two keys of HKDF, as Noise has it."""
    temp = hmac.digest(chain, secret, "sha256")
    first = hmac.digest(temp, b"\x01", "sha256")
    return first, hmac.digest(temp, first + b"\x02", "sha256")


def raw(public):
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


class Noise:
    """An encrypted channel: Noise_XX_25519_ChaChaPoly_SHA256 as the initiator, with libp2p's payloads."""

    SIGNED = b"noise-libp2p-static-key:"

    def __init__(self, below, identity):
        self.below, self.unread = below, bytearray()
        self.hash = self.chain = b"Noise_XX_25519_ChaChaPoly_SHA256"
        self.cipher = None
        self.mix(b"")
        self.shake(identity)

    def mix(self, data):
        self.hash = hashlib.sha256(self.hash + data).digest()

    def agree(self, ours, theirs):
        try:
            shared = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError as error:
            raise Broken("the other end has a key that is none") from error
        self.chain, key = derive(self.chain, shared)
        self.cipher = Cipher(key)

    def sealed(self, data):
        sealed = self.cipher.seal(data, self.hash)
        self.mix(sealed)
        return sealed

    def opened(self, sealed):
        data = self.cipher.open(sealed, self.hash)
        self.mix(sealed)
        return data

    def shake(self, identity):
        static, ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        # -> e
        first = raw(ephemeral.public_key())
        self.mix(first)
        self.mix(b"")
        self.send(first)
        # <- e, ee, s, es
        second = self.receive()
        if len(second) < 32 + 48 + 16:
            raise Broken("the handshake of the other end is too short")
        theirs = second[:32]
        self.mix(theirs)
        self.agree(ephemeral, theirs)
        their_static = self.opened(second[32:80])
        self.agree(ephemeral, their_static)
        self.peer = self.proven(self.opened(second[80:]), their_static)
        # -> s, se
        third = self.sealed(raw(static.public_key()))
        self.agree(static, theirs)
        signature = identity.sign(self.SIGNED + raw(static.public_key()))
        payload = protobuf([(1, ED25519 + raw(identity.public_key())), (2, signature)])
        self.send(third + self.sealed(payload))
        out, back = derive(self.chain, b"")
        self.out, self.back = Cipher(out), Cipher(back)

    def proven(self, payload, static):
        """The peer id of the other end, which has signed its static key."""
        try:
            fields = read_protobuf(payload)
        except ValueError as error:
            raise Broken("the handshake of the other end cannot be read") from error
        key, signature = fields.get(1, b""), fields.get(2, b"")
        if key[:4] != ED25519 or len(key) != 36:
            raise Broken("the other end has a key of a kind that this program does not know")
        try:
            Ed25519PublicKey.from_public_bytes(key[4:]).verify(signature, self.SIGNED + static)
        except InvalidSignature as error:
            raise Broken("the other end does not prove who it is") from error
        return IDENTITY + key

    def send(self, message):
        self.below.write(struct.pack(">H", len(message)) + message)

    def receive(self):
        (length,) = struct.unpack(">H", self.below.read(2))
        return self.below.read(length)

    def write(self, data):
        for at in range(0, len(data), 65535 - 16):
            self.send(self.out.seal(data[at:at + 65535 - 16]))

    def has_more(self):
        return bool(self.unread) or self.below.has_more()

    def read(self, count):
        while len(self.unread) < count:
            self.unread += self.back.open(self.receive())
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data


DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
FIRST_WINDOW = 256 << 10


class Stream:
    """One stream of a yamux connection."""

    def __init__(self, mux, number):
        self.mux, self.number = mux, number
        self.received, self.ended = bytearray(), False
        self.allowed, self.granted, self.flags = FIRST_WINDOW, FIRST_WINDOW, SYN

    def write(self, data):
        at = 0
        while at < len(data):
            while self.allowed == 0:
                self.mux.pump()
            part = data[at:at + min(self.allowed, 32 << 10)]
            self.mux.send(DATA, self.flags, self.number, len(part), part)
            self.flags = 0
            self.allowed -= len(part)
            at += len(part)

    def take(self, count):
        """So many bytes that have arrived; the window is renewed when half of it is used."""
        data = bytes(self.received[:count])
        del self.received[:count]
        used = FIRST_WINDOW - self.granted - len(self.received)
        if used >= FIRST_WINDOW // 2:
            self.mux.send(WINDOW, self.flags, self.number, used)
            self.flags = 0
            self.granted += used
        return data

    def read(self, count):
        while len(self.received) < count:
            if self.ended:
                raise Broken("the other end has ended a stream")
            self.mux.pump()
        return self.take(count)


class Yamux:
    """The streams of one connection, as the end that dialled: ours have odd numbers. Streams of the other end are reset."""

    def __init__(self, below):
        self.below, self.streams, self.next = below, {}, 1

    def send(self, kind, flags, number, length, data=b""):
        self.below.write(struct.pack(">BBHII", 0, kind, flags, number, length) + data)

    def open(self, name):
        stream = Stream(self, self.next)
        self.streams[self.next] = stream
        self.next += 2
        select(stream, name)
        return stream

    def pump(self):
        """Takes in one frame."""
        version, kind, flags, number, length = struct.unpack(">BBHII", self.below.read(12))
        if version != 0 or kind > GO_AWAY:
            raise Broken("a frame that yamux does not have")
        if kind == GO_AWAY:
            raise Broken("the other end closes the connection")
        if kind == PING:
            if flags & SYN:
                self.send(PING, ACK, 0, length)
            return
        stream = self.streams.get(number)
        if flags & SYN and number % 2 == 0:
            self.send(DATA, RST, number, 0)
        if kind == WINDOW:
            if stream:
                stream.allowed += length
        else:
            data = self.below.read(length)
            if stream:
                if length > stream.granted:
                    raise Broken("the other end sends more than it may")
                stream.granted -= length
                stream.received += data
        if stream and flags & (FIN | RST):
            stream.ended = True

    def close(self):
        self.send(GO_AWAY, 0, 0, 0)


def dial(address, identity=None, patience=15.0):
    """A connection with a node, and its peer id, which is the one in the address if that names one."""
    host, port, expected = read_address(address)
    socket_ = Socket(host, port, patience)
    select(socket_, "/noise")
    noise = Noise(socket_, identity or Ed25519PrivateKey.generate())
    if expected is not None and noise.peer != expected:
        raise Broken(f"another node answers there: {to_base58(noise.peer)}")
    select(noise, "/yamux/1.0.0")
    return Yamux(noise), noise.peer
