"""Reads back with the real `tensorboard` what `run.trackers` writes, of a run that is stopped and goes on.

usage, from the repository's root:
  python -m venv build/trackers && build/trackers/bin/pip install tensorboard==2.20.0
  build/trackers/bin/python benches/trackers.py target/release/reft
"""
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

reft = sys.argv[1]
with tempfile.TemporaryDirectory() as runs:
    run = Path(runs) / "tracked"
    command = [reft, "train", "configs/smoke.toml", "--name", "tracked", "--runs", runs]
    command += ["--set", 'run.trackers=["tensorboard","csv"]', "--set", "run.threads=1"]
    command += ["--set", 'grpo.validation={every=2, data=["id"], prompts_per_step=8}']
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (run / "metrics.csv").exists():
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_after = len((run / "metrics.jsonl").read_text().splitlines())
    subprocess.run([reft, "train", "--resume", str(run)], check=True, stdout=subprocess.DEVNULL)

    record = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    n_numbers = n_points = 0
    first_steps = {}
    for i, row in enumerate(record):
        first_steps.setdefault(row["phase"], i)
    points = {}
    for report in run.glob("validation/*/step_*/*/report.json"):
        phase, step, benchmark, _ = report.relative_to(run / "validation").parts
        accuracy = json.loads(report.read_text())["overall"]["accuracy"]
        number = first_steps[phase] + int(step.removeprefix("step_"))
        points.setdefault(f"validation/{benchmark}/accuracy", set()).add((number, round(accuracy, 6)))
    for tag, expected in points.items():
        assert {(event.step, round(event.value, 6)) for event in events.Scalars(tag)} == expected, (tag, expected)
        n_points += len(expected)
    assert n_points > 0
    for tag in events.Tags()["scalars"]:
        if tag in points:
            continue
        found = {event.step: event.value for event in events.Scalars(tag)}
        expected = {i + 1: row[tag] for i, row in enumerate(record) if row.get(tag) is not None}
        assert found.keys() == expected.keys(), (tag, sorted(found), sorted(expected))
        for step, value in expected.items():
            assert abs(found[step] - value) <= 1e-6 * max(1.0, abs(value)), (tag, step, found[step], value)
            n_numbers += 1
    rows = list(csv.DictReader(open(run / "metrics.csv")))
    assert len(rows) == len(record)
    for row, expected in zip(rows, record):
        assert (row["phase"], int(row["step"])) == (expected["phase"], expected["step"])
        numbers = {key: float(text) for key, text in row.items() if key not in ("global_step", "phase", "step") and text}
        assert numbers == {key: value for key, value in expected.items() if key not in ("phase", "step") and value is not None}
    print(f"killed after {killed_after} steps, {len(record)} steps in all: {n_numbers} numbers of "
          f"{len(events.Tags()['scalars'])} metrics and {n_points} validations are the same in TensorBoard, {len(rows)} rows in the CSV file")  # fmt: skip
