"""What a run showed, as facts that two runs can be compared by: texts without ids, times, ports and measured numbers."""

import collections
import json
import re

# In this order: what stands first would also match what follows.
TOKENS = [
    (re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)"), "<time>"),
    (re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\b"), "<time>"),
    (re.compile(r"\b[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}\b"), "<date>"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<md5>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<digest>"),
    (re.compile(r"\b[0-9]{10,}_[0-9]{10,}\.parquet"), "<numbers>.parquet"),
    (re.compile(r"\bbytes [0-9]+-[0-9]+/[0-9]+"), "bytes <range>"),
    (re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b"), "<id>"),
    (re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT"), "<time>"),
    (re.compile(r"\b[0-9]+(\.[0-9]+)? (B|kB|KB|MB|GB|KiB|MiB|GiB)\b"), "<size>"),
    (re.compile(r"\b([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d) ?)+(?![A-Za-z0-9])"), "<duration> "),
    (re.compile(r"(?<![A-Za-z0-9_<-])-?[0-9]+(\.[0-9]+)?%?(?![A-Za-z0-9])"), "<n>"),
]

# Numbers that are the same in every run.
EXACT = {"version", "width", "height", "truncated", "qos", "retain"}


class Facts:
    """Sets of facts by section."""

    def __init__(self, names):
        """`names`: texts of this run alone, such as its folder, and what stands for each."""
        self.names = sorted(names.items(), key=lambda pair: -len(pair[0]))
        self.sections = collections.defaultdict(set)

    def plain(self, text):
        """`text` without what differs from run to run."""
        for name, token in self.names:
            text = text.replace(name, token)
        for pattern, token in TOKENS:
            text = pattern.sub(token, text)
        return text

    def add(self, section, fact):
        self.sections[section].add(self.plain(fact))

    def text(self, section, name, text):
        """Each line of a text; columns may have other widths."""
        for line in text.splitlines():
            self.add(section, f"{name}: {re.sub(r' {2,}|-{3,}', '  ', line.rstrip())}")

    def json(self, section, name, value):
        """Fields with their types, texts, and the order of the fields."""
        if isinstance(value, dict):
            keys = [self.plain(key) for key in value]
            for i, key in enumerate(keys):
                for later in keys[i + 1:]:
                    self.sections["order of fields"].add((self.plain(name), key, later))
            for key, field in value.items():
                self.json(section, f"{name}.{key}", field)
            if not value:
                self.add(section, f"{name}: empty object")
        elif isinstance(value, list):
            for item in value:
                self.json(section, f"{name}[]", item)
            if not value:
                self.add(section, f"{name}: empty list")
        elif isinstance(value, str):
            self.add(section, f"{name} = {json.dumps(self.plain(value), ensure_ascii=False)}")
        elif value is None or isinstance(value, bool) or name.rsplit(".", 1)[-1] in EXACT:
            self.sections[section].add(f"{self.plain(name)} = {json.dumps(value)}")
        else:
            self.add(section, f"{name}: {'whole number' if isinstance(value, int) else 'number'}")

    def body(self, section, name, kind, body):
        """The body of an answer or message of a media type."""
        if "json" in kind:
            try:
                return self.json(section, name, json.loads(body))
            except ValueError:
                pass
        if kind.startswith("text/") or "json" in kind:
            return self.text(section, name, body.decode(errors="replace"))
        return self.add(section, f"{name}: bytes that begin with {body[:3].hex()}" if body else f"{name}: nothing")

    def merge(self, other):
        for section, facts in other.sections.items():
            self.sections[section] |= facts


def differences(old, new):
    """By section, what only one of the two has: `[(section, only_old, only_new)]`."""
    found = []
    for section in sorted(set(old.sections) | set(new.sections)):
        before, after = old.sections[section], new.sections[section]
        if section == "order of fields":
            # Fields that may be absent are in no order that one could miss; only one that is turned round counts.
            turned = sorted((name, a, b) for name, a, b in before if (name, b, a) in after and (name, a, b) not in after)
            if turned:
                found.append((section, [f"{name}: {a} before {b}" for name, a, b in turned],
                              [f"{name}: {b} before {a}" for name, a, b in turned]))
        elif before != after:
            found.append((section, sorted(before - after), sorted(after - before)))
    return found
