"""Results: series of samples, checks against targets, the table and the JSON lines."""

import json
import statistics

# What a sample may hold: key -> (heading, format). Times are process start to exit unless the row says otherwise.
COLUMNS = {
    "mb_s": ("MB/s", "{:.0f}"),
    "transfer_mb_s": ("transfer MB/s", "{:.0f}"),
    "seconds": ("s", "{:.3f}"),
    "ms": ("ms", "{:.1f}"),
    "seed_cpu_s_gb": ("seed CPU s/GB", "{:.2f}"),
    "get_cpu_s_gb": ("get CPU s/GB", "{:.2f}"),
    "seed_rss_mib": ("seed RSS MiB", "{:.0f}"),
    "get_rss_mib": ("get RSS MiB", "{:.0f}"),
    "cpu_s": ("CPU s", "{:.2f}"),
    "cpu_ms": ("CPU ms", "{:.2f}"),
    "rss_mib": ("RSS MiB", "{:.1f}"),
}


class Series:
    """One contestant of a row: a sample (dict of COLUMNS keys) per run, None for a run that failed."""

    def __init__(self, row, name, note=""):
        self.row, self.name, self.note = row, name, note
        self.samples, self.errors = [], []

    def values(self, key):
        """The values of this key over the runs that have it."""
        return [sample[key] for sample in self.samples if sample and sample.get(key) is not None]

    def record(self):
        """The JSON form: median, least, greatest and every run of each figure."""
        record = {"row": self.row, "name": self.name}
        for key in COLUMNS:
            values = self.values(key)
            if values:
                record[key] = {"median": round(statistics.median(values), 4), "min": round(min(values), 4),
                               "max": round(max(values), 4), "runs": [round(value, 4) for value in values]}
        if self.note:
            record["note"] = self.note
        if self.errors:
            record["errors"] = self.errors
        return record


class Check:
    """A figure against its target, or without one (limit None). `tolerance`, a fraction, widens the limit."""

    def __init__(self, row, name, values, op="", limit=None, unit="x", tolerance=0.0):
        self.row, self.name, self.op, self.limit, self.unit, self.tolerance = row, name, op, limit, unit, tolerance
        self.value = statistics.median(values) if values else None
        self.spread = (min(values), max(values)) if values else None

    def verdict(self):
        """PASS, MISS, nothing without a target, or n/a when there is nothing to compare."""
        if self.value is None or self.limit is None:
            return "n/a" if self.value is None else ""
        if self.op == ">=":
            passed = self.value >= self.limit * (1 - self.tolerance)
        else:
            passed = self.value <= self.limit * (1 + self.tolerance)
        return "PASS" if passed else "MISS"

    def record(self):
        """The JSON form."""
        record = {"row": self.row, "check": self.name, "value": self.value and round(self.value, 4), "unit": self.unit,
                  "target": f"{self.op} {self.limit:g}" if self.op else None, "verdict": self.verdict()}
        if self.tolerance:
            record["tolerance"] = self.tolerance
        if self.spread:
            record["min"], record["max"] = (round(value, 4) for value in self.spread)
        return record

    def cells(self):
        """The table line."""
        value = "-" if self.value is None else f"{self.value:.2f} {self.unit}"
        spread = f"{self.spread[0]:.2f}..{self.spread[1]:.2f}" if self.spread else ""
        tolerance = f" (+-{self.tolerance:.0%})" if self.tolerance else ""
        target = f"{self.op} {self.limit:g} {self.unit}{tolerance}" if self.op else "none"
        return [self.name, value, spread, target, self.verdict()]


def ratios(one, other, key, other_key=None):
    """one / other of the same run, run by run: what else the machine does then weighs on both."""
    other_key = other_key or key
    return [a[key] / b[other_key] for a, b in zip(one.samples, other.samples)
            if a and b and a.get(key) is not None and b.get(other_key)]


def grid(lines):
    """Lines of cells as aligned text, the first column to the left and the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  " + "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                                      for column, (cell, width) in enumerate(zip(line, widths))).rstrip()
                     for line in lines)


def table(row, title, series, checks):
    """The text of one row: its contestants with median (min..max of the leading figure), then its checks."""
    text = [f"{row}: {title}"]
    keys = [key for key in COLUMNS if any(one.values(key) for one in series)]
    if keys:
        lines = [["median"] + [COLUMNS[key][0] for key in keys[:1]] + ["min..max"] + [COLUMNS[k][0] for k in keys[1:]]]
        for one in series:
            cells = [one.name]
            for number, key in enumerate(keys):
                values, form = one.values(key), COLUMNS[key][1]
                cells.append(form.format(statistics.median(values)) if values else "-")
                if not number:
                    cells.append(f"{form.format(min(values))}..{form.format(max(values))}" if values else "")
            lines.append(cells)
        text.append(grid(lines))
    if checks:
        text.append(grid([["check", "median", "min..max", "target", ""]] + [check.cells() for check in checks]))
    for one in series:
        if one.note:
            text.append(f"  {one.name}: {one.note}")
        text += [f"  FAILED {one.name}: {error}" for error in dict.fromkeys(one.errors)]
    return "\n".join(text) + "\n"


def lines(series, checks):
    """The JSON lines of one row."""
    return "\n".join(json.dumps(item.record()) for item in series + checks)
