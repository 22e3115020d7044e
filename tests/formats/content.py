"""Content: chunks, hash lists, manifests, links. Written from core/PROTOCOL.md, section 7, and core/FORMATS.md alone."""

import re
import sys
import unicodedata
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import blake3  # noqa: E402
from libp2p_min import read_varint  # noqa: E402

FILE, DIRECTORY, SHARE = range(3)
CONTEXTS = {
    DIRECTORY: "swarm 2026-11 directory manifest v1",
    SHARE: "swarm 2026-11 share envelope v1",
}
LEAF = 1024
LONGEST = 1 << 40
MANIFEST_BYTES = 8 << 20
ENTRIES = 100_000


class Wrong(Exception):
    """Bytes that are not those of the id, or that no honest node sends."""


class Mode:
    """The hash functions of a kind of blob."""

    def __init__(self, kind):
        self.key, self.flags = blake3.IV, 0
        if kind != FILE:
            context = blake3.digest(CONTEXTS[kind].encode(), flags=blake3.DERIVE_CONTEXT)
            self.key = blake3.struct.unpack("<8I", context)
            self.flags = blake3.DERIVE_MATERIAL

    def node(self, data, at, root=False):
        """The value of the subtree of these bytes, the first of which is the one numbered `at`."""
        last = blake3.tree(self.key, data, at // LEAF, self.flags)
        return blake3.struct.pack("<8I", *last(blake3.ROOT if root else 0))

    def parent(self, left, right, root=False):
        last = blake3.node(self.key, left + right, 0, self.flags | blake3.PARENT)
        return blake3.struct.pack("<8I", *last(blake3.ROOT if root else 0))

    def digest(self, data):
        return self.node(data, 0, root=True)

    def merge(self, values, root=False):
        if len(values) == 1:
            return values[0]
        left = left_part(len(values))
        return self.parent(self.merge(values[:left]), self.merge(values[left:]), root)


def left_part(count):
    """The largest power of two that is smaller than a number."""
    return 1 << (count - 1).bit_length() - 1


def power_of_two_up(number):
    return 1 << max(number - 1, 0).bit_length()


class Geometry:
    """The chunks of a blob of some length."""

    def __init__(self, length):
        if length > LONGEST:
            raise Wrong(f"a blob of {length} bytes is longer than any")
        aimed = power_of_two_up(-(-length // 1024))
        self.length = length
        self.size = max(min(max(aimed, 1 << 16), 1 << 20), power_of_two_up(-(-length // 32768)))
        self.chunks = -(-length // self.size)

    def size_of(self, chunk):
        return min(self.size, self.length - chunk * self.size)

    def steps(self):
        """Returns how many values the tail has."""
        rest, count = self.size_of(self.chunks - 1), 0
        while rest > LEAF:
            rest -= LEAF * left_part(-(-rest // LEAF))
            count += 1
        return count

    def list_length(self):
        if self.chunks < 2:
            return 0
        return 32 * (self.chunks + self.steps()) + (self.length - 1) % LEAF + 1


class HashList:
    """Verifies the chunks of a blob whose list is proven; of one chunk, the id is the list."""

    def __init__(self, identity, kind, geometry, data=b""):
        self.mode, self.geometry, self.only = Mode(kind), geometry, identity
        if len(data) != geometry.list_length():
            raise Wrong("the hash list has another length than its blob's says")
        if geometry.chunks < 2:
            return
        values = [data[at:at + 32] for at in range(0, 32 * (geometry.chunks + geometry.steps()), 32)]
        self.values, tail = values[:geometry.chunks], values[geometry.chunks:]
        leaf = data[32 * len(values):]
        if self.mode.merge(self.values, root=True) != identity:
            raise Wrong("the hash list is not that of the id")
        end = self.mode.node(leaf, geometry.length - len(leaf))
        for value in reversed(tail):
            end = self.mode.parent(value, end)
        if end != self.values[-1]:
            raise Wrong("the hash list is not that of a blob of this length")

    def verify(self, chunk, data):
        if len(data) != self.geometry.size_of(chunk):
            return False
        if self.geometry.chunks == 1:
            return self.mode.digest(data) == self.only
        return self.mode.node(data, chunk * self.geometry.size) == self.values[chunk]


INVISIBLE = [(0x61C, 0x61C), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF)]
DEVICES = {"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"}
DEVICES |= {port + number for port in ("COM", "LPT") for number in "0123456789¹²³"}


def check_component(name, unix):
    ok = name not in ("", ".", "..") and len(name.encode()) <= 255 and len(name.encode("utf-16-le")) <= 480
    for letter in name:
        ok = ok and unicodedata.category(letter) != "Cc" and letter != "/"
        ok = ok and not any(first <= ord(letter) <= last for first, last in INVISIBLE)
        ok = ok and (unix or letter not in '\\:<>"|?*')
    stem = name.replace(":", ".").split(".")[0].rstrip(" ")
    if not ok or name[-1] in ". " or stem.upper() in DEVICES:
        raise Wrong(f"a name that no directory may have: {name!r}")


def check_start(path, unix):
    bad = not path or len(path.encode()) > 1024 or path[0] == "/"
    drive = path[1:2] == ":" and path[:1].isascii() and path[:1].isalpha()
    if bad or (not unix and (path[0] == "\\" or drive)):
        raise Wrong(f"a path that no directory may have: {path!r}")


def check_path(path, unix):
    check_start(path, unix)
    names = path.split("/")
    home = path[0] == "~" and (len(path) == 1 or path[1] in "/_-+" or (path[1].isascii() and path[1].isalnum()))
    if home or len(names) > 32:
        raise Wrong(f"a path that no directory may have: {path!r}")
    for name in names:
        check_component(name, unix)


def check_target(path, target, unix):
    check_start(target, unix)
    above, descended = path.count("/"), False
    for step in target.split("/"):
        if step == "..":
            if descended or above == 0:
                raise Wrong(f"a symlink that leaves the directory: {path!r}")
            above -= 1
        elif step not in ("", "."):
            check_component(step, unix)
            descended = True


def fold(name, unix):
    if unix:
        return unicodedata.normalize("NFC", name)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class Reader:
    """The bytes of a manifest, from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Wrong("the manifest ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def varint(self):
        try:
            value, end = read_varint(self.data, self.at)
        except ValueError as error:
            raise Wrong(f"the manifest: {error}") from error
        if value >= 1 << 64 or (end - self.at > 1 and self.data[end - 1] == 0):
            raise Wrong("the manifest has a number that is not in its shortest form")
        self.at = end
        return value

    def text(self, data):
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise Wrong("a name that is not UTF-8") from error


class Manifest:
    """A directory: `entries` are (path, kind, what), kind 0 file, 1 executable, 2 empty directory, 3 symlink."""

    def __init__(self, data):
        reader = Reader(data)
        if len(data) > MANIFEST_BYTES or reader.take(9) != b"swarmdir\x01":
            raise Wrong("not a manifest that this program knows")
        flags = reader.take(1)[0]
        if flags > 1:
            raise Wrong("the manifest has unknown flags")
        self.unix = flags == 1
        self.payload, self.length, count = reader.take(32), reader.varint(), reader.varint()
        if count > ENTRIES:
            raise Wrong("the manifest has too many entries")
        self.entries, before, text = [], b"", 0
        for number in range(count):
            path, entry = self.entry(reader, before, number)
            text += len(path) + (len(entry[2].encode()) if entry[1] == 3 else 0)
            if text > MANIFEST_BYTES:
                raise Wrong("the manifest has too long names")
            before = path
            self.entries.append(entry)
        if reader.at != len(data):
            raise Wrong("bytes after the end of the manifest")
        sizes = [what[0] for _, kind, what in self.entries if kind < 2]
        if sum(sizes) != self.length or self.length >= 1 << 53:
            raise Wrong("the manifest has another length than its files")
        if self.length == 0 and self.payload != blake3.digest(b""):
            raise Wrong("the manifest names bytes where there are none")
        self.check_names()

    def entry(self, reader, before, number):
        shared, rest = reader.varint(), reader.varint()
        if shared > len(before):
            raise Wrong("a path shares more than there is")
        new = reader.take(rest)
        path = before[:shared] + new
        if number and path <= before or (shared < len(before) and new[:1] == before[shared:shared + 1]):
            raise Wrong("the paths of the manifest are not in order")
        name, kind = reader.text(path), reader.take(1)[0]
        check_path(name, self.unix)
        if kind < 2:
            size = reader.varint()
            what = (size, reader.take(32))
            if size == 0 and what[1] != blake3.digest(b""):
                raise Wrong(f"an empty file with the id of another: {name!r}")
        elif kind == 2:
            what = None
        elif kind == 3:
            what = reader.text(reader.take(reader.varint()))
            check_target(name, what, self.unix)
        else:
            raise Wrong(f"an entry of an unknown kind: {name!r}")
        return path, (name, kind, what)

    def check_names(self):
        """No two names are one on any system, and nothing stands below what is no directory."""
        seen = {}
        for number, (path, _, _) in enumerate(self.entries):
            names = path.split("/")
            for depth in range(1, len(names) + 1):
                key = tuple(fold(name, self.unix) for name in names[:depth])
                place = ("/".join(names[:depth]), number if depth == len(names) else None)
                if seen.setdefault(key, place) != place:
                    raise Wrong(f"two names for one place: {path!r}")


def read_id(digits):
    if len(digits) != 64:
        raise ValueError("an id has 64 hexadecimal digits")
    return bytes.fromhex(digits)


def read_link(text):
    """The id of a link or a bare id, the name of the content, and the peers that it names."""
    text = text.strip()
    if not text.lower().startswith("swarm:"):
        return read_id(text.lower().removeprefix("blake3:")), None, []
    if len(text.encode()) > 4096:
        raise ValueError("a link that is too long")
    rest = text[len("swarm:"):].split("#")[0].removeprefix("//")
    digits, _, query = rest.partition("?")
    names, peers = [], []
    for key, _, value in (pair.partition("=") for pair in query.split("&")):
        if key in ("name", "peer"):
            if not all(re.match("[0-9a-fA-F]{2}", code) for code in value.split("%")[1:]):
                raise ValueError("a link that is badly encoded")
            (names if key == "name" else peers).append(urllib.parse.unquote(value, errors="strict"))
    odd = [peer for peer in peers if not 1 <= len(peer) <= 256 or not all("!" <= letter <= "~" for letter in peer)]
    if len(names) > 1 or len(peers) > 16 or odd or any(len(name.encode()) > 255 for name in names):
        raise ValueError("a link with hints that no link may have")
    return read_id(digits.removesuffix("/")), names[0] if names and names[0] else None, peers
