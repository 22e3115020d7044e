#!/usr/bin/env python3
"""Reads what swarm writes by the text of its formats alone, with other libraries: libsodium and a BLAKE3 of its own.

    verify.py vectors           the vectors in core/vectors are what this program makes
    verify.py make NAME         prints those of share.json or office.json
    verify.py share LINK BLOBS  opens a share in a store's folder of blobs: its bytes on standard output, its name beside it

Needs python3-nacl.
"""

import base64
import json
import os
import struct
import sys
import unicodedata
from pathlib import Path

try:
    from nacl import bindings as sodium
except ImportError:
    sys.exit("this needs python3-nacl: apt-get install python3-nacl")

sys.path.insert(0, str(Path(__file__).parent))
import blake3  # noqa: E402

VECTORS = Path(__file__).parent.parent.parent / "core/vectors"
SEGMENT, TAG = 65536, 16
BODY = SEGMENT - TAG
SHARE = "swarm 2026-11 share envelope v1"


def seal(nonce, aad, plain, key):
    return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, key)


def unseal(nonce, aad, sealed, key):
    return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)


def nonces(salt, part, count):
    for number in range(count):
        yield salt + bytes([part]) + number.to_bytes(6, "little") + bytes([number + 1 == count])


def seal_all(key, salt, part, plain, aad=b""):
    parts = [plain[at:at + BODY].ljust(BODY, b"\0") for at in range(0, len(plain), BODY)]
    return b"".join(seal(nonce, aad, body, key) for nonce, body in zip(nonces(salt, part, len(parts)), parts))


def unseal_all(key, salt, part, sealed, aad=b""):
    assert len(sealed) % SEGMENT == 0
    parts = [sealed[at:at + SEGMENT] for at in range(0, len(sealed), SEGMENT)]
    return b"".join(unseal(nonce, aad, body, key) for nonce, body in zip(nonces(salt, part, len(parts)), parts))


def head(content, length, salt):
    return b"swarmshr\x01" + bytes(7) + content + struct.pack("<Q", length) + salt


def envelope(key, salt, content, sealed_length, length, name):
    before = head(content, sealed_length, salt)
    plain = struct.pack("<BQH", 0, length, len(name)) + name + struct.pack("<I", 0)
    filled = plain.ljust(-(-len(plain) // BODY) * BODY, b"\0")
    return before + seal_all(key, salt, 0, filled, before)


def stretch(password, locked):
    kib, passes, lanes = struct.unpack("<IBB", locked[1:7])
    assert locked[0] == 1 and lanes == 1, "libsodium has one lane"
    return sodium.crypto_pwhash_alg(
        32, unicodedata.normalize("NFC", password).encode(), locked[7:23], passes, kib * 1024,
        sodium.crypto_pwhash_ALG_ARGON2ID13)


def lock(key, share, password, salt, nonce):
    before = struct.pack("<BIBB", 1, 65536, 3, 1) + salt + nonce
    return before + seal(nonce, share + before, key, stretch(password, before))


def unlock(locked, share, password):
    before, wrapped = locked[:47], locked[47:]
    return unseal(before[23:47], share + before, wrapped, stretch(password, before))


def text(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def data(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def make():
    key, salt = bytes(range(32)), bytes(range(32, 48))
    lock_salt, lock_nonce = bytes(range(48, 64)), bytes(range(64, 88))
    password, name = "correct horse battery staple", "film.mkv"
    segments = []
    for length in (0, 1, BODY, BODY + 1):
        plain = bytes(at % 251 for at in range(length))
        sealed = seal_all(key, salt, 1, plain)
        segments.append({
            "plain_length": length, "sealed_length": len(sealed), "first_bytes": sealed[:16].hex(),
            "last_bytes": sealed[-16:].hex(), "blake3": blake3.digest(sealed).hex(),
        })
    last = segments[-1]
    content, sealed_length = bytes.fromhex(last["blake3"]), last["sealed_length"]
    sealed = envelope(key, salt, content, sealed_length, last["plain_length"], name.encode())
    share = blake3.derive_key(SHARE, sealed)
    return {
        "comment": "see core/src/content/seal.rs and share.rs; byte number n of the plain bytes is n modulo 251",
        "key": key.hex(), "salt": salt.hex(), "segments": segments,
        "envelope": {"content": content.hex(), "name": name, "length": len(sealed), "id": share.hex()},
        "fragment": "key=" + text(key),
        "lock": {
            "password": password, "salt": lock_salt.hex(), "nonce": lock_nonce.hex(),
            "fragment": "locked=" + text(lock(key, share, password, lock_salt, lock_nonce)),
        },
    }


NOW, DAY = 1_800_000_000, 24 * 3600


def keys(seed):
    """The public key and the signing key of a seed of 32 equal bytes."""
    return sodium.crypto_sign_seed_keypair(bytes([seed]) * 32)


def statement(context, body, signer):
    public, private = keys(signer)
    body += public
    signed = context.encode() + b"\0" + body
    return body + sodium.crypto_sign(signed, private)[:64]


def named(name):
    return bytes([len(name)]) + name.encode()


def make_office():
    charter = b"swarmoff\x01" + keys(1)[0] + struct.pack("<Q", NOW - 100 * DAY) + named("Acme")
    office = blake3.derive_key("swarm 2026-11 office charter v1", charter)
    begin = b"\x01" + office

    def certificate(of, role, signer):
        body = begin + keys(of)[0] + bytes([role]) + struct.pack("<QQQ", 10, NOW - DAY, NOW + 90 * DAY)
        return statement("swarm 2026-11 office certificate v1", body + named(f"node {of}"), signer)

    entries = sorted([(keys(3)[0], 11, NOW + 90 * DAY), (keys(4)[0], 12, NOW + 30 * DAY)])
    body = begin + struct.pack("<QQI", 7, NOW, len(entries))
    body += b"".join(subject + struct.pack("<QQ", below, until) for subject, below, until in entries)
    expulsion = statement("swarm 2026-11 office expulsion v1", body, 2)
    secret = bytes([5]) * 32
    told = statement("swarm 2026-11 office secret v1", begin + struct.pack("<IQ", 2, NOW) + secret, 2)
    door = blake3.keyed(blake3.derive_key("swarm 2026-11 office door v1", secret), b"\0" + keys(3)[0] + keys(4)[0])
    tracker = blake3.keyed(blake3.derive_key("swarm 2026-11 office tracker v1", secret), bytes([1]) * 32)
    invited, address = bytes([8]) * 16, bytes([4, 10, 0, 0, 1, 6, 15, 161])
    code = b"\x01" + office + invited + b"\x01" + bytes([len(address)]) + address
    code += blake3.digest(code)[:4]

    def voucher(members):
        members = sorted(keys(member)[0] for member in members)
        body = begin + struct.pack("<QB", NOW, 2) + bytes([1]) * 32 + bytes([2]) * 32
        return statement("swarm 2026-11 office voucher v1", body + struct.pack("<I", len(members)) + b"".join(members), 3)

    announced = b"\x01\x01" + struct.pack("<Q", NOW) + keys(3)[0] + b"\x01" + bytes([len(address)]) + address
    beacon = bytes([7]) * 24 + seal(bytes([7]) * 24, b"", announced.ljust(320, b"\0"),
                                    blake3.derive_key("swarm 2026-11 office lan v1", secret))
    backup = b"\x01" + office + bytes([1]) * 32
    backup += blake3.digest(backup)[:4]
    return {
        "comment": "see core/src/office.rs; the seed of key n is 32 bytes of n, 1 is the root, 2 a registrar",
        "charter": charter.hex(), "id": office.hex(),
        "chain": [certificate(2, 2, 1).hex(), certificate(3, 1, 2).hex()],
        "expulsion": expulsion.hex(), "secret": told.hex(), "door": door.hex(),
        "lan_key": blake3.derive_key("swarm 2026-11 office lan v1", secret).hex(), "tracker_key": tracker.hex(),
        "invite": "swarm-join:" + text(code),
        "invite_name": blake3.derive_key("swarm 2026-11 office invitation v1", invited)[:16].hex(),
        "voucher": voucher([]).hex(), "voucher_named": voucher([4, 5]).hex(), "beacon": beacon.hex(),
        "backup": "swarm-root:" + text(backup),
    }


def vectors():
    for name, made in (("office.json", make_office()), ("share.json", make())):
        kept = json.loads((VECTORS / name).read_text())
        assert kept == made, f"core/vectors/{name} is not what this program makes"
    locked = data(made["lock"]["fragment"].split("=")[1])
    share = bytes.fromhex(made["envelope"]["id"])
    assert unlock(locked, share, made["lock"]["password"]).hex() == made["key"]


def files(manifest):
    """The payload's id, its length and its files' names and sizes; see core/src/content/manifest.rs."""
    at = 10

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = manifest[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    assert manifest[:9] == b"swarmdir\x01"
    payload, at = manifest[at:at + 32], at + 32
    length, count, path, found = varint(), varint(), b"", []
    for _ in range(count):
        shared, rest = varint(), varint()
        path, at = path[:shared] + manifest[at:at + rest], at + rest
        kind, at = manifest[at], at + 1
        if kind in (0, 1):
            size = varint()
            found.append((path, size, manifest[at:at + 32]))
            at += 32
        elif kind == 3:
            target = varint()
            at += target
    assert at == len(manifest)
    return payload, length, found


def share(link, blobs):
    rest, fragment = link.split("#")
    identity = bytes.fromhex(rest.removeprefix("swarm:")[:64])
    read = lambda blob: (Path(blobs) / blob.hex()[:2] / blob.hex() / "data").read_bytes()
    how, value = fragment.split("=")
    key = data(value) if how == "key" else unlock(data(value), identity, os.environ["SWARM_PASSWORD"])
    sealed = read(identity)
    assert blake3.derive_key(SHARE, sealed) == identity, "the envelope is not that of the id"
    before = sealed[:72]
    content, (length,), salt = before[16:48], struct.unpack("<Q", before[48:56]), before[56:72]
    assert before == head(content, length, salt)
    described = unseal_all(key, salt, 0, sealed[72:], before)
    kind, plain_length, name_length = struct.unpack("<BQH", described[:11])
    name, after = described[11:11 + name_length], described[11 + name_length:]
    (manifest_length,) = struct.unpack("<I", after[:4])
    manifest, filling = after[4:4 + manifest_length], after[4 + manifest_length:]
    assert not any(filling) and len(filling) < BODY
    sealed = read(content)
    assert len(sealed) == length and blake3.digest(sealed) == content, "the content is not that of the envelope"
    plain = unseal_all(key, salt, 1, sealed)
    assert not any(plain[plain_length:]) and len(plain) - plain_length < BODY
    plain = plain[:plain_length]
    if kind == 1:
        payload, total, found = files(manifest)
        assert payload == content and total == plain_length
        start = 0
        for _, size, identity in found:
            assert blake3.digest(plain[start:start + size]) == identity
            start += size
        assert start == total
    else:
        assert kind == 0 and not manifest
    print(name.decode(), file=sys.stderr)
    sys.stdout.buffer.write(plain)


def main(words):
    match words:
        case ["vectors"]:
            vectors()
        case ["make", "share.json"]:
            print(json.dumps(make(), indent=2))
        case ["make", "office.json"]:
            print(json.dumps(make_office(), indent=2))
        case ["share", link, blobs]:
            share(link, blobs)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
