"""Reads Rust source: tokens, comments, and the types, functions and modules that a file defines."""

import collections
import re

COLUMNS = 110  # of a line with a comment on it

TOKEN = re.compile(r"""
    (?P<line>//[^\n]*)
  | (?P<block>/\*)
  | (?P<raw>(?:b|c)?r(?P<hashes>\#*)"(?s:.*?)"(?P=hashes))
  | (?P<string>(?:b|c)?"(?:\\(?s:.)|[^"\\])*")
  | (?P<char>b?'(?:\\u\{[^}]*\}|\\x..|\\.|[^\\'\n])')
  | (?P<lifetime>'\w+)
  | (?P<word>r\#\w+|\w+)
  | (?P<mark>::|->|=>|[^\s\w])
""", re.VERBOSE)
OPEN, CLOSE = "([{", ")]}"
QUALIFIERS = {"const", "async", "unsafe", "extern", "default", "safe"}
TYPES = {"struct", "enum", "union", "trait", "type"}

Token = collections.namedtuple("Token", "kind text line end")
Comment = collections.namedtuple("Comment", "text line end")
Type = collections.namedtuple("Type", "crate name kind module file line fields")
Function = collections.namedtuple("Function", "name file line lines")
Doc = collections.namedtuple("Doc", "file line text")


def block_end(text, start):
    """The end of the block comment that begins at `start`; block comments nest."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return start + mark.end()
    return len(text)


def tokens(text):
    """Code tokens and comments, each with its first and last line."""
    code, comments = [], []
    at, line, seen = 0, 1, 0
    while found := TOKEN.search(text, at):
        start, at = found.span()
        kind = found.lastgroup if found.lastgroup != "hashes" else "raw"
        if kind == "block":
            at = block_end(text, start)
        line += text.count("\n", seen, start)
        end = line + text.count("\n", start, at)
        if kind in ("line", "block"):
            comments.append(Comment(text[start:at], line, end))
        else:
            code.append(Token(kind, text[start:at], line, end))
        seen, line = at, end
    return code, comments


def matching(code):
    """For each opening bracket the index of the one that closes it."""
    pairs, stack = {}, []
    for at, token in enumerate(code):
        if token.kind == "mark" and token.text in OPEN:
            stack.append(at)
        elif token.kind == "mark" and token.text in CLOSE and stack:
            pairs[stack.pop()] = at
    pairs.update((at, len(code) - 1) for at in stack)
    return pairs


class File:
    """One source file and what is defined in it."""

    def __init__(self, root, path, crate, module, is_test):
        self.name, self.crate, self.module, self.is_test = str(path.relative_to(root)), crate, module, is_test
        self.path = path
        text = path.read_text(encoding="utf-8")
        self.text_lines = text.splitlines()
        self.code, comments = tokens(text)
        self.pairs = matching(self.code)
        self.types, self.functions, self.children = [], [], []
        self.inline = {}  # first token of an inline module's body -> (last token, its path)
        self.tests = []  # (first token, last token) of each item under #[cfg(test)]
        self.items(0, len(self.code), module, False)
        self.starts = {"crate", "super", "self"} | {child[-1] for child, _, _ in self.children}
        bodies = [(self.code[a].line, self.code[b].end) for a, b in self.tests if self.code[b].text == "}"]
        self.test_lines = {n for a, b in bodies for n in range(a, b + 1)}
        if is_test:
            self.test_lines = set(range(1, len(self.text_lines) + 1))
        self.comments = [c for c in comments if c.line not in self.test_lines]
        self.lines = len(self.text_lines) - len(self.test_lines)

    # Items

    def is_at(self, at, *texts):
        """Whether exactly these tokens stand at this place."""
        return tuple(t.text for t in self.code[at:at + len(texts)]) == texts

    def past(self, at, end, marks):
        """The first of these marks from here on that is in no bracket."""
        while at < end and not (self.code[at].kind == "mark" and self.code[at].text in marks):
            at = self.pairs.get(at, at) + 1
        return min(at, end - 1)

    def head(self, at, end):
        """Skips what precedes an item's keyword: (place of that, whether it is a test, path attribute)."""
        is_test, path = False, None
        while at < end and self.is_at(at, "#"):
            bracket = at + (2 if self.is_at(at + 1, "!") else 1)
            close = self.pairs.get(bracket, bracket)
            if bracket == at + 1:
                words = "".join(t.text for t in self.code[bracket + 1:close])
                is_test |= re.match(r"cfg\((test|all\(test\b.*)\)$", words) is not None
                path = words[len('path="'):-1] if words.startswith("path=") else path
            at = close + 1
        if self.is_at(at, "pub"):
            at += 1
            at = self.pairs[at] + 1 if self.is_at(at, "(") else at
        while at + 1 < end and self.code[at].text in QUALIFIERS and self.leads_on(at + 1):
            at += 1
            at += self.code[at].kind in ("string", "raw")
        return at, is_test, path

    def leads_on(self, at):
        """Whether a qualifier before this token belongs to a function, a trait or an impl block."""
        if self.code[at].kind in ("string", "raw"):
            at += 1
        return at < len(self.code) and self.code[at].text in QUALIFIERS | {"fn", "trait", "impl"}

    def items(self, at, end, module, inside):
        """Reads the items of a module, or those `inside` an impl block or a trait."""
        while at < end:
            start = at
            at, is_test, path = self.head(at, end)
            if at >= end:
                break
            last = self.item(at, end, module, inside, path, is_test)
            if is_test:
                self.tests.append((start, last))
            at = last + 1

    def item(self, at, end, module, inside, path, is_test):
        """Reads one item whose keyword stands here; returns its last token."""
        word = self.code[at].text
        name = self.code[at + 1].text if at + 1 < end else ""
        if word == "mod":
            return self.module_item(at, end, module, name, path, is_test)
        if word == "fn":
            return self.function(at, end, is_test)
        if word in ("impl", "trait"):
            body = self.past(at, end, "{;")
            if word == "trait" and not is_test:
                self.add_type(at, module, 0)
            if self.is_at(body, "{") and not is_test:
                self.items(body + 1, self.pairs[body], module, True)
            return self.pairs.get(body, body)
        if word in TYPES and self.code[at + 1].kind == "word":
            last, fields = self.type_item(at, end)
            if not inside and not is_test:
                self.add_type(at, module, fields)
            return last
        if word in ("use", "const", "static"):
            return self.past(at, end, ";")
        # A macro, an extern block, or a semicolon by itself.
        last = self.past(at, end, "{;")
        return self.pairs.get(last, last)

    def module_item(self, at, end, module, name, path, is_test):
        """`mod name;` or `mod name { ... }`."""
        if not self.is_at(at + 2, "{"):
            self.children.append((module + (name,), path, is_test))
            return at + 2
        last = self.pairs[at + 2]
        if not is_test:
            self.inline[at + 2] = (last, module + (name,))
            self.items(at + 3, last, module + (name,), False)
        return last

    def function(self, at, end, is_test):
        """A function; those inside its body count by themselves too."""
        body = self.past(at, end, "{;")
        last = self.pairs.get(body, body)
        if self.is_at(body, "{") and not is_test and not self.is_test:
            lines = self.code[last].line - self.code[at].line + 1
            self.functions.append(Function(self.code[at + 1].text, self.name, self.code[at].line, lines))
            within = body + 1
            while within < last:
                if self.is_at(within, "fn") and self.code[within + 1].kind == "word":
                    within = self.function(within, last, False)
                within += 1
        return last

    def type_item(self, at, end):
        """The last token of a struct, an enum, a union or an alias, and how many fields a struct has."""
        word, body = self.code[at].text, at + 2
        if word == "type":
            return self.past(at, end, ";"), 0
        if self.is_at(body, "<"):
            depth = 0
            while body < end:
                depth += {"<": 1, ">": -1}.get(self.code[body].text, 0)
                body = self.pairs.get(body, body) + 1
                if depth == 0:
                    break
        if self.is_at(body, "("):
            return self.past(body, end, ";"), self.fields(body)
        body = self.past(body, end, "{;")
        return self.pairs.get(body, body), self.fields(body) if word == "struct" else 0

    def fields(self, bracket):
        """How many fields stand in these brackets."""
        count, depth, filled, at = 0, 0, False, bracket + 1
        close = self.pairs.get(bracket, bracket)
        while at < close:
            text = self.code[at].text
            depth += {"<": 1, ">": -1}.get(text, 0)
            count, filled = (count + filled, False) if text == "," and depth == 0 else (count, True)
            at = self.pairs.get(at, at) + 1
        return count + filled

    def add_type(self, at, module, fields):
        word, name = self.code[at], self.code[at + 1].text
        if not self.is_test:
            self.types.append(Type(self.crate, name, word.text, module, self.name, word.line, fields))

    # Imports

    def imports(self):
        """Every path to a module of this crate, outside of tests: (module it is used in, its words)."""
        at, spans = 0, dict(self.tests)
        while at < len(self.code):
            if at in spans:
                at = spans[at] + 1
                continue
            if self.is_at(at, "use") and not self.is_at(at + 1, "<"):
                found = []
                self.use_tree(at + 1, [], found)
                yield from ((self.module_at(at), path) for path in found)
                at = self.past(at, len(self.code), ";")
            elif self.code[at].text in self.starts and self.starts_path(at):
                path = [self.code[at].text]
                module = self.module_at(at)
                while self.is_at(at + 1, "::") and re.match(r"\w", self.code[at + 2].text):
                    at += 2
                    path.append(self.code[at].text)
                yield module, path
            at += 1

    def starts_path(self, at):
        """A path, not a visibility and not the middle of another path."""
        return self.is_at(at + 1, "::") and not (at and self.code[at - 1].text in ("in", "::", "."))

    def use_tree(self, at, prefix, found):
        """Takes the groups of a `use` apart; returns the place after this branch."""
        path = list(prefix)
        while at < len(self.code):
            token = self.code[at]
            if token.text == "{":
                close, at = self.pairs[at], at + 1
                while at < close:
                    at = self.use_tree(at, path, found)
                    at += self.is_at(at, ",")
                return close + 1
            if token.text == "as":
                at += 2
                continue
            if token.text in (",", ";", "}"):
                break
            if token.kind == "word" and not (token.text == "self" and path):
                path.append(token.text)
            at += 1
        if path and path[0] in self.starts:
            found.append(path)
        return at

    def module_at(self, at):
        """The module this token is in: the file's, or an inline one."""
        around = [(a, path) for a, (b, path) in self.inline.items() if a < at < b]
        return max(around)[1] if around else self.module

    # Comments

    def comment_lines(self):
        """Numbers of the lines with nothing but comment on them."""
        code = {n for t in self.code for n in range(t.line, t.end + 1)}
        return {n for c in self.comments for n in range(c.line, c.end + 1)} - code - self.test_lines

    def long_comments(self):
        """Numbers of the lines with a comment on them that are too wide."""
        commented = {n for c in self.comments for n in range(c.line, c.end + 1)} - self.test_lines
        return sorted(n for n in commented if len(self.text_lines[n - 1]) > COLUMNS)

    def docs(self):
        """Doc comments, consecutive lines as one."""
        found, before = [], (0, "")
        for comment in self.comments:
            kind = re.match(r"///(?!/)|//!|/\*\*(?![*/])|/\*!", comment.text)
            if not kind:
                continue
            text = comment.text[3:].removesuffix("*/").strip()
            if before == (comment.line - 1, kind.group()):
                if not found[-1].text:
                    found[-1] = found[-1]._replace(text=text)
            else:
                found.append(Doc(self.name, comment.line, text))
            before = (comment.end, kind.group())
        return found
