#!/usr/bin/env python3
"""Draws cli/docs/demo.svg: what `swarm demo` shows in a terminal, half way and at the end.

    tests/demo-svg.py [SWARM] [SVG]     default: target/release/swarm, cli/docs/demo.svg

It runs the demo in a terminal of its own, follows what a terminal shows after each write, and draws two of
those screens: the one nearest to half of all bytes, and the last."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from xml.sax.saxutils import escape

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLUMNS, ROWS = 82, 40
CELL, LINE, MARGIN, BAR = 8.0, 18.0, 18.0, 30.0
PLAIN = "#d7dce2"
LOOKS = {"1": ' fill="#ffffff" font-weight="bold"', "36": ' fill="#4fc3dc"', "32": ' fill="#7ecf7e"',
         "33": ' fill="#e0c060"', "31": ' fill="#e07070"'}
SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")
PROGRESS = re.compile(r"getter \d.*?([\d.]+) ?(B|KiB|MiB|GiB)/([\d.]+) MiB")
UNITS = {"B": 1 / (1 << 20), "KiB": 1 / 1024, "MiB": 1, "GiB": 1024}


class Screen:
    """A terminal, as far as the demo needs one: lines of (character, style), a cursor, colours."""

    def __init__(self):
        self.lines, self.row, self.column, self.style = [[]], 0, 0, ""

    def feed(self, text):
        for codes, verb, control, plain in SEQUENCE.findall(text):
            if control == "\r":
                self.column = 0
            elif control == "\n":
                self.down(1)
            elif plain:
                self.put(plain)
            elif verb == "A":
                self.row = max(0, self.row - int(codes or 1))
            elif verb == "B":
                self.down(int(codes or 1))
            elif verb == "K":
                self.lines[self.row] = [] if codes == "2" else self.lines[self.row][:self.column]
            elif verb == "m":
                self.style = "" if codes in ("", "0") else codes

    def down(self, count):
        self.row += count
        while len(self.lines) <= self.row:
            self.lines.append([])

    def put(self, text):
        line = self.lines[self.row]
        line += [(" ", "")] * (self.column - len(line))
        line[self.column:self.column + len(text)] = [(char, self.style) for char in text]
        self.column += len(text)

    def shown(self):
        """The lines, each a list of (first column, style, text)."""
        lines = []
        for line in self.lines:
            runs = []
            for column, (char, style) in enumerate(line):
                if runs and runs[-1][1] == style:
                    runs[-1] = (runs[-1][0], style, runs[-1][2] + char)
                else:
                    runs.append((column, style, char))
            lines.append([run for run in runs if run[2].strip()])
        return lines


def text_of(line):
    return "".join(text for _, _, text in line)


def record(swarm):
    """Runs the demo; returns the screen nearest to half way, and the last."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
    env["TERM"] = "xterm-256color"
    demo = subprocess.Popen([swarm, "demo"], stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    screen, best, halfway, pending = Screen(), 1.0, None, ""
    while True:
        try:
            read = os.read(master, 65536)
        except OSError:
            break
        if not read:
            break
        pending += read.decode("utf-8", "replace")
        # A write may be cut within a sequence; frames end with a line, or with the cursor's way back to it.
        whole, cut, rest = pending.rpartition("\x1b")
        ready, pending = (pending, "") if not cut or SEQUENCE.match(cut + rest) else (whole, cut + rest)
        screen.feed(ready)
        lines = screen.shown()
        parts = [float(found[1]) * UNITS[found[2]] / float(found[3])
                 for found in (PROGRESS.search(text_of(line)) for line in lines) if found]
        if len(parts) == 5 and abs(sum(parts) / 5 - 0.5) < best:
            best, halfway = abs(sum(parts) / 5 - 0.5), lines
    if demo.wait() or halfway is None:
        shown = "no" if halfway is None else "its"
        sys.exit(f"the demo ended with {demo.returncode}, and showed {shown} progress")
    return halfway, screen.shown()


def trimmed(lines):
    """Without empty lines at both ends."""
    full = [number for number, line in enumerate(lines) if line]
    return lines[full[0]:full[-1] + 1]


def drawn(lines, top):
    """SVG of some lines, the first of them at this height."""
    out = []
    for number, line in enumerate(lines):
        for column, style, text in line:
            shift = len(text) - len(text.lstrip())
            column, text = column + shift, text.strip()
            place = f'x="{MARGIN + column * CELL:g}" y="{top + number * LINE:g}"'
            place += f' textLength="{len(text) * CELL:g}"'
            out.append(f"<text {place}{LOOKS.get(style, '')}>{escape(text)}</text>")
    return out


def picture(halfway, last):
    """The whole picture."""
    halfway = [[(0, "32", "$"), (2, "1", "swarm demo")], *trimmed(halfway)]
    known = [text_of(line) for line in halfway]
    last = trimmed([line for line in last if not line or text_of(line) not in known])
    # The last paragraph tells what to try next; the picture stands where the reader is told.
    ends = [number for number, line in enumerate(last) if not line]
    last = trimmed(last[:ends[-1]]) if ends else last
    width = 2 * MARGIN + COLUMNS * CELL
    first = BAR + MARGIN + 8
    border = first + len(halfway) * LINE
    second = border + LINE + 6
    height = second + len(last) * LINE
    dots = [f'<circle cx="{MARGIN + 6 + 20 * number:g}" cy="{BAR / 2 + 3:g}" r="5.5" fill="{fill}"/>'
            for number, fill in enumerate(("#e0605a", "#e0b050", "#60b860"))]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img" aria-label="swarm demo in a terminal">',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#1b1f27"/>', *dots,
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"'
        f' font-size="13" fill="{PLAIN}" style="white-space: pre" xml:space="preserve">',
        *drawn(halfway, first),
        f'<path d="M{MARGIN:g} {border:g}H{width - MARGIN:g}" stroke="#3a414d" stroke-dasharray="3 4"/>',
        *drawn(last, second), "</g>", "</svg>", ""])


def main():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    swarm = sys.argv[1] if len(sys.argv) > 1 else os.path.join(target, "release", "swarm")
    path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(ROOT, "cli", "docs", "demo.svg")
    drawing = picture(*record(swarm))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(drawing)
    print(f"{path}: {len(drawing.encode())} bytes")


if __name__ == "__main__":
    main()
