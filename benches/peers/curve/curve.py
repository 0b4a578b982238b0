"""The same training here and in TRL: on equal completions the weights agree, sampled freely the curves do.

usage, from the repository's root, with torch, torchvision, transformers, trl, datasets, pillow and pyarrow:
  python benches/peers/curve/curve.py ours REFT WORK [--seeds 3] [--steps 60]      runs ours.toml, seed by seed
  python benches/peers/curve/curve.py replay WORK --seed 0     TRL trains on the completions of a run of ours
  python benches/peers/curve/curve.py sample WORK --seed 0     TRL samples for itself, questions in the order of ours
  python benches/peers/curve/curve.py table WORK [--svg FILE]  both, beside each other

REFT is the binary, WORK a folder for all results. `replay` needs the steps of `ours`; `table` takes what is there.
Control tokens are out of our softmax and so they are here: their logits get -1e4 in the head's bias.
"""
import argparse
import io
import json
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

MODEL = "fixtures/pico-vlm"
RECIPE = Path(__file__).with_name("ours.toml")
GROUP, PROMPTS = 8, 8
BETA = 0.02


# What an answer earns: docs/REWARDS.md in a page, written apart from the crate that is compared.

BLOCKS = re.compile(
    r"\s*<think>((?:(?!</?(?:think|answer)>).)*)</think>\s*<answer>((?:(?!</?(?:think|answer)>).)*)</answer>\s*", re.S
)


def answer_of(text):
    """The answer block of a completion whose blocks are whole; what the pico model writes otherwise earns nothing."""
    found = BLOCKS.fullmatch(text)
    return found.group(2).strip() if found else None


def box(text):
    numbers = re.search(r"\[\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\]", text)
    try:
        return [float(number) for number in numbers.groups()] if numbers else None
    except ValueError:
        return None


def iou(a, b):
    (ax, ay, aX, aY), (bx, by, bX, bY) = ([min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])] for c in (a, b))
    inner = max(0.0, min(aX, bX) - max(ax, bx)) * max(0.0, min(aY, bY) - max(ay, by))
    outer = (aX - ax) * (aY - ay) + (bX - bx) * (bY - by) - inner
    return inner / outer if outer > 0 else 0.0


def names(text):
    return {name.strip().lower() for name in re.split(r"[,\n]", text.strip("[]")) if name.strip()}


def accuracy(text, task, solution):
    answer = answer_of(text)
    if not answer:
        return 0.0
    if task == "detection":
        given = box(answer)
        return float(given is not None and iou(given, box(solution)) > 0.5)
    if task == "classify":
        given, right = names(answer), names(solution)
        return len(given & right) / len(given | right)
    return float(answer == solution)


def keeps_format(text, task):
    answer = answer_of(text)
    if not answer:
        return 0.0
    if task == "detection":
        given = box(answer)
        return float(given is not None and given[0] <= given[2] and given[1] <= given[3])
    return 1.0


# Runs of ours.


def our_run(work, seed):
    return Path(work) / "runs" / f"ours-{seed}"


def stored(work, seed, step):
    """The completions of a step, as the run keeps them: groups of GROUP in the order of the questions."""
    import pyarrow.parquet as pq

    return pq.read_table(our_run(work, seed) / f"completions/open/step_{step:06d}.parquet").to_pylist()


def ours(args):
    for seed in range(args.seeds):
        if (our_run(args.work, seed) / "final").exists():
            continue
        overrides = [f"run.seed={seed}", f"phase.open.steps={args.steps}"]
        command = [args.reft, "train", str(RECIPE), "--name", f"ours-{seed}", "--runs", str(Path(args.work) / "runs")]
        subprocess.run(command + [word for setting in overrides for word in ("--set", setting)], check=True)


def pictures(work):
    """The scenes of the recipe by sample: the same seed gives the same bytes."""
    import pyarrow.parquet as pq
    from PIL import Image

    return {
        row["id"]: Image.open(io.BytesIO(row["images"][0]["bytes"])).convert("RGB")
        for row in pq.read_table(Path(work) / "train.parquet").to_pylist()
    }


# The same training in TRL.


def train(args, replayed):
    import torch
    from datasets import Dataset
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(1)
    steps = len(list((our_run(args.work, args.seed) / "completions/open").glob("step_*.parquet")))
    kept = {step: stored(args.work, args.seed, step) for step in range(1, steps + 1)}
    images = pictures(args.work)
    questions = [row for step in range(1, steps + 1) for row in kept[step][::GROUP]]
    dataset = Dataset.from_list(
        [
            dict(
                prompt=[{"role": "user", "content": row["prompt"].replace("<image>", "").strip()}],
                image=images[row["sample"]],
                sid=row["sample"],
                task=row["task"],
                solution=row["solution"],
            )
            for row in questions
        ]
    )
    # Without padding on the left TRL gives shorter prompts wrong M-RoPE positions.
    processor = AutoProcessor.from_pretrained(MODEL, padding_side="left")
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32)
    tokenizer = processor.tokenizer
    ends = {tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")}
    hide_control_tokens(model, tokenizer, ends)
    folder = Path(args.work) / ("replayed" if replayed else "sampled") / str(args.seed)
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder / "steps.jsonl", "w")

    def text_of(completion):
        return completion[0]["content"]

    def right(completions, task, solution, **_):
        return [accuracy(text_of(c), t, s) for c, t, s in zip(completions, task, solution)]

    def form(completions, task, **_):
        return [keeps_format(text_of(c), t) for c, t in zip(completions, task)]

    class Log(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.start = time.time()

        def on_step_end(self, *_, **__):
            self.seconds = time.time() - self.start

        def on_log(self, _, state, __, logs=None, **___):
            log.write(json.dumps(dict(step=state.global_step, seconds=self.seconds, **logs)) + "\n")
            log.flush()

    def token_ids(row):
        ids = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids("<|im_end|>")] if row["finish"] == "stop" else []
        assert len(ids) == row["tokens"], (
            f"{row['sample']}: sampled in other tokens than it is written in; replay a run of fewer --steps")
        return ids

    class Trainer(GRPOTrainer):
        def _generate_single_turn(self, *arguments, **keywords):
            if not replayed:
                return super()._generate_single_turn(*arguments, **keywords)
            return [token_ids(row) for row in kept[self.state.global_step + 1]], None

    config = GRPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=GROUP * PROMPTS, gradient_accumulation_steps=1,
        steps_per_generation=1, num_iterations=1, num_generations=GROUP, max_completion_length=96, max_steps=steps,
        learning_rate=1e-4, lr_scheduler_type="constant", warmup_steps=0, adam_beta1=0.9, adam_beta2=0.999,
        adam_epsilon=1e-8, weight_decay=0.0, max_grad_norm=1.0, beta=BETA, loss_type="grpo", scale_rewards="group",
        epsilon=0.2, temperature=1.0, top_p=1.0, top_k=0, shuffle_dataset=False, seed=args.seed, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1, save_strategy="no",
        disable_dropout=True,
    )  # fmt: skip
    trainer = Trainer(
        model=model, reward_funcs=[right, form], args=config, train_dataset=dataset, processing_class=processor,
        callbacks=[Log()],
    )  # fmt: skip
    if trainer.ref_model is not None:
        hide_control_tokens(trainer.ref_model, tokenizer, ends)
    if replayed:
        import trl.trainer.grpo_trainer

        # Rows stay in our order; the loss is a mean over them.
        trl.trainer.grpo_trainer.shuffle_sequence_dict = lambda rows: rows
    trainer.train()
    if replayed:
        (folder / "weights.json").write_text(json.dumps(weight_difference(model, our_run(args.work, args.seed))))


def hide_control_tokens(model, tokenizer, ends):
    """The policy that ours draws from: control tokens but the ends, out of the softmax."""
    import torch

    bias = torch.zeros(model.lm_head.weight.shape[0])
    bias[[i for i in tokenizer.all_special_ids if i not in ends]] = -1e4
    bias[len(tokenizer) :] = -1e4
    model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)


def weight_difference(model, run):
    """Relative to the weights and to how far training moved them."""
    from safetensors.torch import load_file

    before, after = load_file(f"{MODEL}/model.safetensors"), load_file(str(run / "final/model.safetensors"))
    theirs = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): value
        for name, value in model.state_dict().items()
    }
    apart = sum(float((theirs[name].double() - after[name].double()).pow(2).sum()) for name in after)
    size = sum(float(value.double().pow(2).sum()) for value in after.values())
    moved = sum(float((after[name].double() - before[name].double()).pow(2).sum()) for name in after)
    return dict(of_weights=(apart / size) ** 0.5, of_change=(apart / moved) ** 0.5)


# Beside each other.


def curves(work, kind, seed):
    """Accuracy, length and entropy of every step, and seconds."""
    if kind == "ours":
        run = our_run(work, seed)
        metrics = [json.loads(line) for line in open(run / "metrics.jsonl")]
        metrics = [row.get("metrics", row) for row in metrics]
        timings = [json.loads(line) for line in open(run / "timings.jsonl")]
        timings = [row.get("metrics", row) for row in timings]
        keys = ["reward/accuracy", "completion/length_mean", "grpo/entropy", "grpo/kl"]
        return [[m[key] for key in keys] + [t["time/step_s"]] for m, t in zip(metrics, timings)]
    rows = [json.loads(line) for line in open(Path(work) / kind / str(seed) / "steps.jsonl")]
    keys = ["rewards/right/mean", "completions/mean_length", "entropy", "kl", "seconds"]
    return [[row[key] for key in keys] for row in rows if "rewards/right/mean" in row]


def table(args):
    work = Path(args.work)
    seeds = {
        "ours": sorted(int(run.name.split("-")[1]) for run in (work / "runs").glob("ours-*") if (run / "final").exists()),
        "sampled": sorted(int(run.name) for run in (work / "sampled").glob("*")) if (work / "sampled").exists() else [],
    }
    print("| | seeds | accuracy, first 10 steps | last 10 | all | tokens | entropy | KL, last 10 | s a step |")
    print("|---|---|---|---|---|---|---|---|---|")
    lines = {}
    for kind, label in (("ours", "curr-reft"), ("sampled", "TRL")):
        runs = [curves(work, kind, seed) for seed in seeds[kind]]
        if not runs:
            continue

        def over(column, part):
            each = [statistics.mean(step[column] for step in run[part]) for run in runs]
            spread = statistics.stdev(each) if len(each) > 1 else 0.0
            return f"{statistics.mean(each):.3f} ± {spread:.3f}"

        first, last, whole = slice(10), slice(-10, None), slice(None)
        seconds = statistics.median(step[4] for run in runs for step in run)
        cells = [over(0, first), over(0, last), over(0, whole), over(1, whole), over(2, whole), over(3, last)]
        print(f"| {label} | {len(runs)} | " + " | ".join(cells) + f" | {seconds:.2f} |")
        shortest = min(map(len, runs))
        lines[label] = [statistics.mean(run[i][0] for run in runs) for i in range(shortest)]
    for weights in sorted((work / "replayed").glob("*/weights.json")):
        found = json.loads(weights.read_text())
        print(f"\nreplayed, seed {weights.parent.name}: weights differ by {found['of_weights']:.1e}, "
              f"by {found['of_change']:.1e} of what training changed")  # fmt: skip
    if args.svg:
        Path(args.svg).write_text(svg(lines))


def svg(lines):
    """Accuracy against updates, means over the seeds and over five steps."""
    width, height, left, top = 720, 300, 48, 24
    steps = max(len(line) for line in lines.values())
    smooth = {
        label: [statistics.mean(line[max(0, i - 2) : i + 3]) for i in range(len(line))] for label, line in lines.items()
    }
    low, high = min(map(min, smooth.values())), max(map(max, smooth.values()))

    def point(i, value):
        x = left + i / max(1, steps - 1) * (width - left - 120)
        y = top + (high - value) / max(1e-9, high - low) * (height - top - 40)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="14">accuracy of sampled answers, {steps} updates</text>',
        f'<text x="4" y="{top + 6}">{100 * high:.0f} %</text><text x="4" y="{height - 36}">{100 * low:.0f} %</text>',
    ]
    for i, ((label, line), colour) in enumerate(zip(smooth.items(), ("#0072b2", "#d55e00"))):
        points = " ".join(point(i, value) for i, value in enumerate(line))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        parts.append(f'<text x="{width - 110}" y="{top + 20 + 18 * i}" fill="{colour}">{label}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    own = commands.add_parser("ours")
    own.add_argument("reft")
    own.add_argument("work")
    own.add_argument("--seeds", type=int, default=3)
    own.add_argument("--steps", type=int, default=60)
    for name in ("replay", "sample", "table"):
        command = commands.add_parser(name)
        command.add_argument("work")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--svg")
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    if args.command == "ours":
        scenes = "data scenes --glyphs fixtures/digits/digits.parquet --split rl --count 1920 --seed 10 --output"
        subprocess.run([args.reft, *scenes.split(), str(work / "train.parquet")], check=True)
        ours(args)
    elif args.command == "table":
        table(args)
    else:
        train(args, replayed=args.command == "replay")


if __name__ == "__main__":
    main()
