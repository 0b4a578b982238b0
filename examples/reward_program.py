"""A reward in Python, asked by curr-reft over a pipe: JSON lines in, JSON lines out.

    [phase.reward.program.brevity]
    command = ["python3", "examples/reward_program.py"]

Pays 1 for a thinking of at most 50 words, less for longer ones. Replace `score` by your own.
"""

import json
import sys

FREE_WORDS = 50


def score(sample, completion):
    """From 0 to 1. `sample` has id, task, form, problem, solution, images; `completion` has text, tokens, finish."""
    thinking = completion["text"].split("</think>")[0]
    return min(1.0, FREE_WORDS / max(1, len(thinking.split())))


for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = {"score": score(question["sample"], question["completion"])}
    except Exception as error:  # The completion pays 0 for this part, and the run goes on.
        answer = {"error": repr(error)}
    # The id tells the answer from anything else on standard output.
    print(json.dumps({**answer, "id": question["id"]}), flush=True)
