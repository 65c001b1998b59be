"""What the scripts `peers` and `model` share: running programs, medians, the machine in words."""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time


class Failed(Exception):
    """A program that was to be measured did not do its work."""


def run_with_usage(command, env=None):
    """Runs a program to its end. Returns its stdout and what it used of the machine."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=errors, env={**os.environ, **(env or {})})
        text = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Failed("%s: status %d: %s" % (" ".join(command[:2]), process.returncode,
                                                " ".join(last)))
    return text, usage


def run(command, env=None):
    """The same with its peak resident bytes."""
    text, usage = run_with_usage(command, env)
    return text, usage.ru_maxrss * 1024  # Linux counts KiB.


def processor_seconds(command):
    """What a program takes of the processors: the same on a busy machine, nearly."""
    _, usage = run_with_usage(command)
    return usage.ru_utime + usage.ru_stime


def run_json(command, env=None):
    """The same where stdout is one JSON document."""
    text, peak = run(command, env)
    return json.loads(text), peak


def first_byte_ms(command, env=None):
    """Milliseconds from starting a program to the first byte that it writes to its stdout."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    first = os.read(process.stdout.fileno(), 1)
    spent = (time.perf_counter() - start) * 1e3
    process.stdout.read()
    if process.wait() != 0 or not first:
        raise Failed("%s wrote no token" % " ".join(command[:2]))
    return spent


def median(values):
    return statistics.median(values) if values else None


def read_into_page_cache(path):
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def machine():
    """The processor, the cores that this process may use, and the kernel."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    name = line.split(":", 1)[1].strip()
                    break
    except OSError:
        pass
    return "%s, %d cores, %s %s" % (name, len(os.sched_getaffinity(0)), platform.system(),
                                    platform.release())


def table(rows):
    """Rows of cells as a Markdown table; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |"
             for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def number(value):
    """Three or four significant digits, without an exponent."""
    if value is None:
        return "–"
    return "%.0f" % value if value >= 1000 else "%.1f" % value if value >= 10 else "%.2f" % value
