#!/usr/bin/env python3
"""Measures the Rust sources: size, comments, names and import circles, for each scope of the project.

Unit tests (`*_tests.rs`, `tests.rs` and what is under `#[cfg(test)]`) are measured apart from the code: the
lines of a file are those without them. A circle is a set of files of one crate that name each other in paths
that begin with `crate`, `super`, `self` or a child module. A child may name its own ancestors: most do.
"""

import argparse
import collections
import pathlib
import re
import signal
import statistics
import sys

sys.dont_write_bytecode = True

from rust_source import COLUMNS, File  # noqa: E402

# Limits of --check.
ROOM_SHARE = 0.15  # of the lines of core and cli, for one top-level module
CIRCLE_FILES = 2
FILE_LINES = 500

# What the table points out.
LONG_FUNCTION = 70
FOLDER_LINES = 800  # a folder inside a top-level module has a row of its own from here on
WIDEST = 8
VAGUE = re.compile(r"(Who|What|Whose|Which|Whether|Where|The same|Not any longer|As)\b")

CRATES = {"core": "core/src", "cli": "cli/src", "tracker": "tracker-optional/src"}
HOUSE = ("core", "cli")


def read_crate(root, crate):
    """The files of a crate, by following its modules from its roots: [{module: file}], one for each root."""
    folder = root / CRATES[crate]
    trees = []
    for start in (folder / "lib.rs", folder / "main.rs"):
        if not start.is_file():
            continue
        tree, todo = {}, [((), start, False)]
        while todo:
            module, path, is_test = todo.pop()
            file = tree[module] = File(root, path, crate, module, is_test)
            for child, attribute, test in file.children:
                place = child_path(path, file.module, child, attribute)
                test = test or is_test or place.name.endswith("_tests.rs") or place.name == "tests.rs"
                if place.is_file():
                    todo.append((child, place, test))
        trees.append(tree)
    return trees


def child_path(path, module, child, attribute):
    """The file of a module that is declared in the file at `path`."""
    own = path.parent if path.name in ("lib.rs", "main.rs", "mod.rs") else path.parent / path.stem
    inline = child[len(module):-1]
    if attribute:
        return (own.joinpath(*inline) if inline else path.parent) / attribute
    folder = own.joinpath(*inline)
    flat = folder / f"{child[-1]}.rs"
    return flat if flat.is_file() else folder / child[-1] / "mod.rs"


class Circles:
    """Which files import which, and where that goes round."""

    def __init__(self, tree):
        self.edges = collections.defaultdict(lambda: collections.defaultdict(set))
        modules = {module: file for module, file in tree.items() if not file.is_test}
        inline = {path: f for f in modules.values() for _, path in f.inline.values()}
        everywhere = {**inline, **modules}
        for file in modules.values():
            for module, path in file.imports():
                words, base = list(path), module
                if words[0] in ("crate", "self"):
                    words, base = words[1:], () if words[0] == "crate" else base
                while words and words[0] == "super":
                    words, base = words[1:], base[:-1]
                while words and base + (words[0],) in everywhere:
                    words, base = words[1:], base + (words[0],)
                target = everywhere.get(base)
                if target and target.module != file.module[:len(target.module)]:
                    self.edges[file.name][target.name].add("::".join(words) or "the module")
        reach = {name: self.reachable(name) for name in list(self.edges)}
        sets = {frozenset(o for o in seen if name in reach.get(o, ())) for name, seen in reach.items()}
        self.found = sorted((sorted(s) for s in sets if len(s) > 1), key=lambda s: (-len(s), s))

    def reachable(self, name):
        seen, todo = set(), [name]
        while todo:
            for other in self.edges.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen


class Project:
    """All files, and the figures of any part of them."""

    def __init__(self, root):
        self.root = root
        trees = {crate: read_crate(root, crate) for crate in CRATES}
        self.files = [f for crate in CRATES for tree in trees[crate] for f in tree.values()]
        self.circles = [Circles(tree) for crate in CRATES for tree in trees[crate]]
        self.crate_names, self.all_names = collections.Counter(), collections.Counter()
        # One type for several systems is one place.
        for crate, name, _ in {(t.crate, t.name, t.module) for f in self.files for t in f.types}:
            self.crate_names[crate, name] += 1
            self.all_names[name] += 1

    def code(self):
        return [f for f in self.files if not f.is_test]

    def scopes(self):
        """(name, files) for each row of the table."""
        yield "core+cli+tracker", self.files
        for crate in CRATES:
            yield crate, [f for f in self.files if f.crate == crate]
        core = [f for f in self.files if f.crate == "core"]
        for module, lines in rooms(core).items():
            yield f"core {module[0]}", [f for f in core if f.module[:1] == module]
            paths = [f.module for f in core if f.module[:1] == module]
            inner = {path[:n] for path in paths for n in range(2, len(path) + 1)}
            for folder in sorted(inner):
                files = [f for f in core if f.module[:len(folder)] == folder and not f.is_test]
                if len(files) > 1 and sum(f.lines for f in files) >= FOLDER_LINES:
                    yield f"- {'/'.join(folder[1:])}", [f for f in core if f.module[:len(folder)] == folder]

    def largest_room(self):
        """(crate, module, lines, share) of the largest top-level module of core and cli."""
        total = sum(f.lines for f in self.files if f.crate in HOUSE)
        sizes = [(lines, crate, module[0]) for crate in HOUSE
                 for module, lines in rooms(f for f in self.files if f.crate == crate).items()]
        lines, crate, module = max(sizes)
        return crate, module, lines, lines / total

    def shared(self, files):
        """(named types, of those under a name that its crate has twice, under one that any crate has too)."""
        types = {(t.crate, t.name, t.module) for f in files for t in f.types}
        own = sum(self.crate_names[crate, name] > 1 for crate, name, _ in types)
        return len(types), own, sum(self.all_names[name] > 1 for _, name, _ in types)

    def all_circles(self):
        return sorted((c for graph in self.circles for c in graph.found), key=lambda c: (-len(c), c))


def rooms(files):
    """Lines of each top-level module, the largest first."""
    sizes = collections.Counter()
    for file in files:
        if file.module:
            sizes[file.module[:1]] += file.lines
    return dict(sizes.most_common())


def p90(values):
    return sorted(values)[int(0.9 * len(values))] if values else 0


def median(values):
    return round(statistics.median(values)) if values else 0


def percent(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else "-"


HEAD = ["scope", "files", "lines", "file median/p90/max", "fn median/p90", f"fns > {LONG_FUNCTION}",
        "comment", "unit-test lines (per line)", "types", "shared in crate", "shared overall", "vague docs",
        f"comments > {COLUMNS}", "traits (per 1,000)"]


def row(project, name, files):
    """One row of the table."""
    code = [f for f in files if not f.is_test]
    sizes = [f.lines for f in code]
    lines = sum(sizes)
    functions = [x.lines for f in code for x in f.functions]
    long = sum(n > LONG_FUNCTION for n in functions)
    tests = sum(len(f.test_lines) for f in files)
    types, own, everywhere = project.shared(code)
    docs = [d for f in code for d in f.docs()]
    vague = sum(VAGUE.match(d.text) is not None for d in docs)
    wide = sum(len(f.long_comments()) for f in code)
    traits = sum(t.kind == "trait" for f in code for t in f.types)
    return [
        name, str(len(code)), f"{lines:,}", f"{median(sizes)} / {p90(sizes)} / {max(sizes, default=0)}",
        f"{median(functions)} / {p90(functions)}", f"{long} ({100 * long / max(1, len(functions)):.1f} %)",
        percent(sum(len(f.comment_lines()) for f in code), lines), f"{tests:,} ({tests / max(1, lines):.2f})",
        str(types), f"{own} ({percent(own, types)})", f"{everywhere} ({percent(everywhere, types)})",
        f"{vague} of {len(docs)} ({percent(vague, len(docs))})", str(wide),
        f"{traits} ({1000 * traits / max(1, lines):.2f})",
    ]


def show_table(project):
    rows = [HEAD] + [row(project, name, files) for name, files in project.scopes()]
    widths = [max(len(r[n]) for r in rows) for n in range(len(HEAD))]
    rows.insert(1, ["-" * width for width in widths])
    for cells in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |")
    print()
    lines = sum(f.lines for f in project.files)
    apart = [p for folder in ("core/tests", "cli/tests", "tracker-optional/tests", "tests")
             for p in (project.root / folder).rglob("*.rs")]
    tests = sum(len(f.test_lines) for f in project.files) + sum(line_count(p) for p in apart)
    print(f"test lines per line of code, with the folders of tests: {tests / lines:.2f}")
    sizes = [len(c) for c in project.all_circles()]
    print(f"import circles: {len(sizes)}, of {', '.join(map(str, sizes)) or 'no'} files")
    crate, module, lines, share = project.largest_room()
    print(f"largest room: {crate} {module}, {lines:,} lines, {100 * share:.1f} % of core and cli")
    structs = sorted((t for f in project.code() for t in f.types), key=lambda t: -t.fields)[:WIDEST]
    print("widest structs: " + ", ".join(f"{t.name} {t.fields}" for t in structs))
    long = sorted((x for f in project.code() for x in f.functions), key=lambda x: -x.lines)[:WIDEST]
    print("longest functions: " + ", ".join(f"{x.file}:{x.line} {x.name} {x.lines}" for x in long))
    lock = (project.root / "Cargo.lock").read_text(encoding="utf-8")
    names = re.findall(r'^name = "(.+)"', lock, re.MULTILINE)
    twice = sum(n > 1 for n in collections.Counter(names).values())
    print(f"Cargo.lock: {len(names)} packages, {len(set(names))} names, {twice} in two or more versions")


def line_count(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def show_circles(project):
    for circle in project.all_circles():
        print(f"circle of {len(circle)} files:")
        graph = next(g for g in project.circles if circle in g.found)
        for name in circle:
            print(f"  {name}")
            for other in sorted(set(graph.edges[name]) & set(circle)):
                print(f"    -> {other}: {', '.join(sorted(graph.edges[name][other]))}")


def show_shared(project):
    places = collections.defaultdict(list)
    for file in project.code():
        for t in file.types:
            places[t.name].append(t)
    shared = [(name, found) for name, found in places.items() if project.all_names[name] > 1]
    for name, found in sorted(shared, key=lambda pair: (-len(pair[1]), pair[0])):
        twice = sorted(crate for crate in CRATES if project.crate_names[crate, name] > 1)
        print(f"{name} x{len(found)}{' (twice or more in ' + ', '.join(twice) + ')' if twice else ''}")
        for t in found:
            print(f"  {t.file}:{t.line}: {t.kind}")


def show_docs(project):
    for file in project.code():
        for doc in file.docs():
            if VAGUE.match(doc.text):
                print(f"{doc.file}:{doc.line}: {doc.text}")


def check(project):
    """Prints what is over a limit, and returns whether anything is."""
    wrong = []
    crate, module, lines, share = project.largest_room()
    if share > ROOM_SHARE:
        wrong.append(f"room: {crate} {module} has {share:.1%} of core and cli, at most {ROOM_SHARE:.0%}")
    for circle in project.all_circles():
        if len(circle) > CIRCLE_FILES:
            wrong.append(f"circle: {len(circle)} files, at most {CIRCLE_FILES}: {', '.join(circle)}")
    for file in sorted(project.code(), key=lambda f: -f.lines):
        if file.lines > FILE_LINES:
            wrong.append(f"file: {file.name} has {file.lines} lines, at most {FILE_LINES}")
    print("\n".join(wrong) or "within all limits")
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser(description="Measures the Rust sources of this project.")
    parser.add_argument("--check", action="store_true", help="print what is over a limit and end with 1")
    parser.add_argument("--circles", action="store_true", help="print the files of each import circle")
    parser.add_argument("--shared", action="store_true", help="print the type names that are defined twice")
    parser.add_argument("--docs", action="store_true", help="print the doc comments without a subject")
    here = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--root", type=pathlib.Path, default=here, help="measure the project in this folder")
    args = parser.parse_args()
    project = Project(args.root.resolve())
    details = {show_circles: args.circles, show_shared: args.shared, show_docs: args.docs}
    for show, wanted in details.items():
        if wanted:
            show(project)
    if args.check:
        sys.exit(check(project))
    if not any(details.values()):
        show_table(project)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    main()
