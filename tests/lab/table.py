"""The tables at the end: the results of the runs, and the targets of the rows that are met."""

import statistics

COLUMNS = [("slowest", "slowest", 7), ("median", "median", 6), ("origin", "origin_wire", 6), ("line", "line_in", 5),
           ("CPU/GB", "cpu_s_per_gb", 6), ("MiB", "anonymous_mib", 5), ("first", "first_s", 5),
           ("control", "control_mb_gb", 7), ("idle", "idle", 5), ("wire", "wire_cpu", 5)]
NAMES = {"slowest": "slowest/bound", "origin_wire": "origin's wire bytes/F", "line_in": "bytes in by the line/F",
         "missing": "complete", "cpu_s_per_gb": "CPU s/GB of a node", "anonymous_mib": "anonymous MiB of a node",
         "first_s": "first chunk, s"}
RATIOS = ("slowest", "median", "origin_wire", "line_in")
LEGEND = """slowest, median: over the bound. origin, line: wire bytes out of the origin and into a site, over F.
CPU/GB: of a getter, mean, kernel included. MiB: anonymous, largest getter. first: s until the last host had a chunk.
control: MB per GB delivered that are neither file nor TCP/IP headers. idle: what was left of the processors; near 0
they are the limit, not the links, and times say little. wire: of one processor, what the wires with distance and loss
took, the receivers' part of TCP included."""


def median(results, field):
    """Returns the median of a figure over the runs, or None if a run lacks it."""
    values = [r[field] for r in results]
    if not values or None in values:
        return None
    return max(values) if field == "missing" else statistics.median(values)


def text(value, field):
    """Format a figure."""
    if value is None:
        return "-"
    return f"{value:.3f}" if field in RATIOS else f"{value:.3g}"


def complete(results):
    """Returns how many getters have the file, in the worst run."""
    return f"{min(r['completed'] for r in results)}/{results[0]['hosts']}"


def show(table):
    """Print the table of [(row, client, results)]."""
    if not table:
        return
    print(f"\n{'row':29} {'client':10} {'all':>7} " + " ".join(f"{title:>{width}}" for title, _, width in COLUMNS))
    for row, name, results in table:
        cells = " ".join(f"{text(median(results, field), field):>{width}}" for _, field, width in COLUMNS)
        print(f"{row['name']:29} {name:10} {complete(results):>7} {cells}")
    print(LEGEND)
    show_targets(table)


def show_targets(table):
    """Print a line for each target, with a column for each client."""
    names = list(dict.fromkeys(name for _, name, _ in table))
    rows = list({row["name"]: row for row, _, _ in table}.values())
    if not any(row.get("targets") for row in rows):
        return
    print(f"\n{'row':29} {'figure':23} {'target':>8}  " + "  ".join(f"{name:>12}" for name in names))
    for row in rows:
        of = {name: results for other, name, results in table if other is row}
        for field, most in row.get("targets", {}).items():
            cells = "  ".join(f"{verdict(of[name], field, most) if name in of else '':>12}" for name in names)
            target = "all" if field == "missing" else f"<={most:g}"
            print(f"{row['name']:29} {NAMES[field]:23} {target:>8}  {cells}")


def verdict(results, field, most):
    """Format a figure and whether it meets its target."""
    value = median(results, field)
    shown = complete(results) if field == "missing" else text(value, field)
    if value is None and field != "slowest":
        return "-"
    return f"{shown} {'ok' if value is not None and value <= most else 'miss'}"
