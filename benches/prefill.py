"""What a prompt costs a token, by its length, and what a token of an answer costs: for docs/BENCHMARKS.md.

usage, from the repository's root, with nothing but Python:
  target/release/examples/random Qwen3.5-0.8B WORK/model
  python benches/prefill.py target/release/reft WORK/model [LENGTH ...]

Asks `reft serve` with prompts of token ids, so that no template or picture is in between; medians of three, of which each has
another first token, so that no prompt is found again.
"""
import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

reft, model = sys.argv[1:3]
lengths = [int(word) for word in sys.argv[3:]] or [256, 512, 1024, 2048, 4096]
ANSWER = 33

server = subprocess.Popen(
    [reft, "serve", "--model", model, "--port", "0", "--max-prompt-tokens", str(max(lengths)), "--max-tokens", str(ANSWER)]
    + ["--answers", "1", "--max-prompts", "1"],
    stderr=subprocess.PIPE,
    text=True,
)
address = server.stderr.readline().split("served at ")[1].split(";")[0]
threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()


def seconds(prompt, tokens):
    body = {"prompt": prompt, "max_tokens": tokens, "min_tokens": tokens, "temperature": 0}
    request = urllib.request.Request(f"{address}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:
        assert json.load(answer)["usage"]["completion_tokens"] == tokens
    return time.perf_counter() - start


first = 40
print("| prompt tokens | ms a prompt token | ms a token of the answer |")
print("|---|---|---|")
for length in lengths:
    prefill, decode = [], []
    for _ in range(3):
        times = []
        for tokens in (1, ANSWER):
            first += 1
            times.append(seconds([first] + [50 + i % 100 for i in range(length - 1)], tokens))
        prefill.append(times[0] / length)
        decode.append((times[1] - times[0]) / (ANSWER - 1))
    print(f"| {length} | {1e3 * statistics.median(prefill):.2f} | {1e3 * statistics.median(decode):.1f} |", flush=True)
server.terminate()
