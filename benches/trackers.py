"""Reads back with the real `tensorboard` and `trackio` what `run.trackers` writes, of a run that is stopped and goes on.

usage, from the repository's root:
  python -m venv build/trackers && build/trackers/bin/pip install tensorboard==2.20.0 trackio==0.43.0
  build/trackers/bin/python benches/trackers.py target/release/reft
"""
import csv
import json
import os
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
    os.environ.update(TRACKIO_DIR=f"{runs}/trackio", TRACKIO_PROJECT="small runs")
    command = [reft, "train", "configs/smoke.toml", "--name", "tracked", "--runs", runs]
    command += ["--set", 'run.trackers=["tensorboard","trackio","csv"]', "--set", "run.threads=1"]
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
    # The first step of a phase and every tenth show a question, its picture and its answers.
    asked = [(i + 1, row["phase"], row["step"]) for i, row in enumerate(record)]
    asked = [(number, phase, step) for number, phase, step in asked if step == 1 or step % 10 == 0]
    shown = sorted((f"answers/{phase}", number) for number, phase, step in asked
                   if (run / f"completions/{phase}/step_{step:06}.parquet").exists())  # fmt: skip
    tags = {tag for tag, _ in shown}
    texts = [(tag, event) for tag in tags for event in events.Tensors(tag)]
    assert sorted((tag, event.step) for tag, event in texts) == shown
    assert all(b"right answer" in event.tensor_proto.string_val[0] for _, event in texts)
    pictures = [(tag, event) for tag in tags for event in events.Images(tag)]
    assert sorted((tag, event.step) for tag, event in pictures) == shown
    assert all(event.encoded_image_string.startswith(b"\x89PNG") for _, event in pictures)
    assert b"[[phase]]" in events.Tensors("recipe")[0].tensor_proto.string_val[0]

    # Read after `TRACKIO_DIR` is set, which the package asks for when it is loaded.
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import MEDIA_DIR

    (tracked,) = Api().runs("small runs")
    assert (tracked.name, tracked.config["run"]["name"]) == ("tracked", "tracked")
    logs = SQLiteStorage.get_logs("small runs", "tracked")
    n_trackio, tables = 0, []
    for log in logs:
        row = {key: value for key, value in record[log["step"] - 1].items() if value is not None}
        for key, value in log.items():
            if key.startswith("answers/"):
                tables.append((key, log["step"]))
                picture = value["_value"][0]["picture"]["file_path"]
                assert (MEDIA_DIR / picture).read_bytes().startswith(b"\x89PNG"), picture
            elif key.startswith("validation/"):
                assert (log["step"], round(value, 6)) in points[key]
            elif key not in ("step", "timestamp", "log_id"):
                assert value == row[key], (key, value, row)
                n_trackio += 1
    assert sorted(tables) == shown
    assert n_trackio == n_numbers, (n_trackio, n_numbers)
    rows = list(csv.DictReader(open(run / "metrics.csv")))
    assert len(rows) == len(record)
    for row, expected in zip(rows, record):
        assert (row["phase"], int(row["step"])) == (expected["phase"], expected["step"])
        numbers = {key: float(text) for key, text in row.items() if key not in ("global_step", "phase", "step") and text}
        assert numbers == {key: value for key, value in expected.items() if key not in ("phase", "step") and value is not None}
    print(f"killed after {killed_after} steps, {len(record)} steps in all: {n_numbers} numbers of "
          f"{len(events.Tags()['scalars'])} metrics, {n_points} validations and {len(shown)} questions with pictures are the "
          f"same in TensorBoard and trackio, {len(rows)} rows in the CSV file")  # fmt: skip
