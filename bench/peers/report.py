"""The table of `make bench-peers`, and the bars we hold ourselves to."""

from __future__ import annotations

import statistics

#: contender → figure → one value a round
Figures = dict[str, dict[str, list[float]]]

COLUMNS = {
    "drain": "drain, jobs/s",
    "cpu": "CPU a job, µs",
    "single": "one at a time, jobs/s",
    "bulk": "many at once, jobs/s",
}
THREADS, PROCESSES = "outsourced, threads", "outsourced, processes"
#: ours, figure, at least so many times, that peer's
BARS = (
    (THREADS, "drain", 5.0, "celery, redis"),
    (THREADS, "drain", 1.0, "huey, redis"),
    (THREADS, "drain", 10.0, "procrastinate, postgresql"),
    (PROCESSES, "drain", 3.0, "celery, redis"),
    (THREADS, "bulk", 0.5, "pgqueuer, postgresql"),
    (THREADS, "single", 1.0, "procrastinate, postgresql"),
)


def print_report(figures: Figures, *, rounds: int, jobs: int) -> None:
    """Prints the table, in Markdown, and how far each bar was met."""
    medians = {
        name: {figure: statistics.median(values) for figure, values in of_one.items()}
        for name, of_one in figures.items()
    }
    print(f"\nMedians of {rounds} interleaved rounds of {jobs:,} jobs.\n")
    print("| |", " | ".join(COLUMNS.values()), "|")
    print("| --- |", " | ".join("---" for _ in COLUMNS), "|")
    for name, of_one in sorted(medians.items(), key=lambda item: -item[1]["drain"]):
        cells = (f"{of_one[figure]:,.0f}" if figure in of_one else "–" for figure in COLUMNS)
        print(f"| {name} |", " | ".join(cells), "|")
    print()
    for ours, figure, bar, peer in BARS:
        if peer in medians:
            ratio = medians[ours][figure] / medians[peer][figure]
            verdict = "met" if ratio >= bar else "missed"
            print(f"{ours}: {COLUMNS[figure]}: {ratio:.2f} × {peer} (bar {bar:g}: {verdict})")
