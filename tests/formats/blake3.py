"""BLAKE3 (github.com/BLAKE3-team/BLAKE3-specs, section 2), slowly and plainly: an oracle that shares nothing with the library."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MASK = 0xFFFFFFFF
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH, DERIVE_CONTEXT, DERIVE_MATERIAL = 1, 2, 4, 8, 16, 32, 64
# Columns, then diagonals.
MIXES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def compress(chain, words, counter, length, flags):
    v = list(chain) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    for _ in range(7):
        for at, (a, b, c, d) in enumerate(MIXES):
            x = (v[a] + v[b] + words[2 * at]) & MASK
            w = v[d] ^ x
            w = (w >> 16 | w << 16) & MASK
            z = (v[c] + w) & MASK
            y = v[b] ^ z
            y = (y >> 12 | y << 20) & MASK
            x = (x + y + words[2 * at + 1]) & MASK
            w ^= x
            w = (w >> 8 | w << 24) & MASK
            z = (z + w) & MASK
            y ^= z
            v[a], v[b], v[c], v[d] = x, (y >> 7 | y << 25) & MASK, z, w
        words = [words[at] for at in ORDER]
    return [v[at] ^ v[at + 8] for at in range(8)]


def node(chain, block, counter, flags):
    words = struct.unpack("<16I", block.ljust(64, b"\0"))
    return lambda more=0: compress(chain, words, counter, len(block), flags | more)


def leaf(key, data, counter, flags):
    """The last compression of a chunk of up to 1,024 bytes, still to be done: with or without the mark of the root."""
    blocks = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
    chain = key
    for at, block in enumerate(blocks[:-1]):
        chain = node(chain, block, counter, flags | (CHUNK_START if at == 0 else 0))()
    start = CHUNK_START if len(blocks) == 1 else 0
    return node(chain, blocks[-1], counter, flags | start | CHUNK_END)


def tree(key, data, counter, flags):
    if len(data) <= 1024:
        return leaf(key, data, counter, flags)
    # The left side is the largest power of two of chunks that leaves something for the right.
    left = 1024
    while left * 2 < len(data):
        left *= 2
    pair = tree(key, data[:left], counter, flags)() + tree(key, data[left:], counter + left // 1024, flags)()
    return node(key, struct.pack("<16I", *pair), 0, flags | PARENT)


def digest(data, key=IV, flags=0):
    return struct.pack("<8I", *tree(key, data, 0, flags)(ROOT))


def derive_key(context, material):
    key = struct.unpack("<8I", digest(context.encode(), IV, DERIVE_CONTEXT))
    return digest(material, key, DERIVE_MATERIAL)


def keyed(key, data):
    return digest(data, struct.unpack("<8I", key), KEYED_HASH)
