"""Asks `reft serve` with the `openai` package and with lmms-eval's client, and loads it with 64 clients.

usage, from the repository's root:
  python -m venv build/clients && build/clients/bin/pip install openai==3.57.0
  build/clients/bin/python benches/serve_clients.py target/release/reft [SECONDS]

lmms-eval is asked where it is installed (`pip install lmms-eval==0.7.3`, which brings torch). First what the packages make of
answers, streams, log-probabilities and errors. Then 64 clients that ask one after another for
SECONDS (60): no answer may be lost, each is the one of its seed, and memory stays as it was after the first third.
"""
import base64
import itertools
import os
import statistics
import subprocess
import sys
import threading
import time

import openai

reft, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
CLIENTS, QUESTIONS = 64, 24
picture = base64.b64encode(open("fixtures/golden/images/photo.png", "rb").read()).decode()


def about(question):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    return [{"role": "user", "content": [image, {"type": "text", "text": question}]}]


server = subprocess.Popen(
    [reft, "serve", "--model", "fixtures/pico-vlm", "--served-model-name", "pico", "--port", "0", "--threads", "1"]
    + ["--max-prompt-tokens", "256", "--max-tokens", "128"],
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"REFT_API_KEY": "secret"},
)
address = server.stderr.readline().split("served at ")[1].split(";")[0]
threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
client = openai.OpenAI(base_url=address, api_key="secret", max_retries=0)
ask = client.chat.completions.create

# Answers.
common = dict(model="pico", messages=about("yes or no? is the digit 7 here?"), max_tokens=40, seed=5)
whole = ask(**common, n=2, logprobs=True, top_logprobs=3, extra_body={"return_token_ids": True})
assert [choice.index for choice in whole.choices] == [0, 1]
for choice in whole.choices:
    assert choice.finish_reason in ("stop", "length") and choice.message.role == "assistant"
    assert len(choice.logprobs.content) == len(choice.token_ids)
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)
assert whole.usage.completion_tokens == sum(len(choice.token_ids) for choice in whole.choices)
assert whole.usage.prompt_tokens == len(whole.prompt_token_ids)
texts = ["", ""]
for piece in ask(**common, n=2, stream=True, stream_options={"include_usage": True}):
    for choice in piece.choices:
        texts[choice.index] += choice.delta.content or ""
    usage = piece.usage
assert texts == [choice.message.content for choice in whole.choices]
assert usage.total_tokens == whole.usage.total_tokens
text = client.completions.create(model="pico", prompt="<|im_start|>user\nyes or no?<|im_end|>\n<|im_start|>assistant\n", max_tokens=9, logprobs=2)
assert len(text.choices[0].logprobs.tokens) == len(text.choices[0].logprobs.token_logprobs) > 0
assert [model.id for model in client.models.list()] == ["pico"]
assert client.chat.completions.with_raw_response.create(**common, extra_headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"

# Errors.
for expected, change in [
    (openai.NotFoundError, dict(model="gpt-4")),
    (openai.BadRequestError, dict(logit_bias={"5": 1})),
    (openai.BadRequestError, dict(response_format={"type": "json_object"})),
    (openai.BadRequestError, dict(max_tokens=5000)),
    (openai.BadRequestError, dict(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}])),
]:
    try:
        ask(**(common | change))
    except expected as error:
        assert error.body["message"], error
    else:
        raise AssertionError(f"{change} was answered")
try:
    openai.OpenAI(base_url=address, api_key="other", max_retries=0).models.list()
except openai.AuthenticationError:
    pass
print(f"openai {openai.__version__}: answers, streams, log-probabilities, models, errors as expected")

# lmms-eval's client, which sends pictures in its own encoding.
try:
    from lmms_eval.models.chat.openai import OpenAICompatible
except ModuleNotFoundError as missing:
    print(f"lmms-eval is not asked: {missing}")
else:
    from types import SimpleNamespace

    from PIL import Image

    evaluator = OpenAICompatible(model_version="pico", base_url=address, api_key="secret", timeout=60, num_concurrent=8)
    questions = [f"yes or no? is the digit {digit} here?" for digit in range(8)]
    photo = Image.open("fixtures/golden/images/photo.png").convert("RGB")

    def to_messages(question):
        return [{"role": "user", "content": [{"type": "image", "url": photo}, {"type": "text", "text": question}]}]

    evaluator.task_dict = {"task": {"test": questions}}
    arguments = {"max_new_tokens": 40, "temperature": 0}
    requests = [SimpleNamespace(args=("", to_messages, dict(arguments), i, "task", "test")) for i in range(len(questions))]
    answers = [getattr(answer, "text", answer) for answer in evaluator.generate_until(requests)]
    own = [ask(model="pico", messages=about(question), max_tokens=40, temperature=0) for question in questions]
    # The same pixels in another PNG.
    assert answers == [answer.choices[0].message.content for answer in own], answers
    print(f"lmms-eval: {len(answers)} questions answered as by openai")

# Load.
expected = {}
for seed in range(QUESTIONS):
    expected[seed] = ask(model="pico", messages=about(f"is the digit {seed % 10} here? {seed}"), max_tokens=64, seed=seed).choices[0].message.content
latencies, wrong, failed, tokens = [], [], [], []
end, numbers = time.monotonic() + seconds, itertools.count()


def resident():
    return int(next(line for line in open(f"/proc/{server.pid}/status") if line.startswith("VmRSS")).split()[1]) / 1024


def work():
    own = openai.OpenAI(base_url=address, api_key="secret", max_retries=0)
    while time.monotonic() < end:
        seed = next(numbers) % QUESTIONS
        began = time.monotonic()
        try:
            answer = own.chat.completions.create(model="pico", messages=about(f"is the digit {seed % 10} here? {seed}"), max_tokens=64, seed=seed)
        except openai.OpenAIError as error:
            failed.append(error)
            continue
        latencies.append(time.monotonic() - began)
        tokens.append(answer.usage.completion_tokens)
        if answer.choices[0].message.content != expected[seed]:
            wrong.append(seed)


threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
for thread in threads:
    thread.start()
time.sleep(seconds / 3)
early = resident()
for thread in threads:
    thread.join()
late = resident()
assert not failed and not wrong, (failed[:3], wrong[:3])
cuts = statistics.quantiles(latencies, n=100)
print(f"{CLIENTS} clients for {seconds:.0f} s: {len(latencies)} answers, {sum(tokens) / seconds:.0f} tokens/s, none lost, none wrong; "
      f"seconds to an answer p50 {cuts[49]:.2f}, p95 {cuts[94]:.2f}, p99 {cuts[98]:.2f}; "
      f"memory {early:.0f} MiB after a third, {late:.0f} at the end")  # fmt: skip
assert late < 1.1 * early, "memory grows"
server.terminate()
assert server.wait(60) == 0, "a stop finishes what was asked"
