"""A GRPO step of the workloads of benches/update.rs and benches/rollout.rs by TRL's GRPOTrainer, fp32, one update.

usage: python benches/peers/grpo_small.py CHECKPOINT                                        workload W1
       python benches/peers/grpo_small.py CHECKPOINT --prompts 1 --side 560 --steps 4       workload W2
CHECKPOINT comes from small_checkpoint.py; needs torch, torchvision, transformers, trl, datasets and pillow.
"""
import argparse
import os
import resource
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
for name, value in dict(group=8, prompts=4, new=64, side=224, steps=6).items():
    parser.add_argument("--" + name, type=int, default=value)
args = parser.parse_args()

rng = np.random.default_rng(0)
question = "what is the answer to this question about the image?"
rows = [
    dict(
        prompt=[{"role": "user", "content": question}],
        image=Image.fromarray(rng.integers(0, 255, (args.side, args.side, 3), dtype=np.uint8)),
    )
    for _ in range(args.prompts * args.steps)
]
times = []


class Clock(TrainerCallback):
    def on_step_begin(self, *_, **__):
        self.start = time.time()

    def on_step_end(self, *_, **__):
        times.append(time.time() - self.start)


config = GRPOConfig(
    output_dir="trl_out", per_device_train_batch_size=args.prompts * args.group, num_generations=args.group,
    max_completion_length=args.new, max_steps=args.steps, beta=0.04, report_to=[], use_cpu=True, bf16=False,
    logging_steps=1000, save_strategy="no", temperature=1.0, gradient_checkpointing=False,
    generation_kwargs=dict(min_new_tokens=args.new),
)
trainer = GRPOTrainer(
    model=Qwen2_5_VLForConditionalGeneration.from_pretrained(args.checkpoint, dtype=torch.float32),
    reward_funcs=lambda completions, **_: [float(len(str(completion)) % 7) for completion in completions],
    args=config,
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoProcessor.from_pretrained(args.checkpoint),
    callbacks=[Clock()],
)
trainer.train()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"steps {min(times):.2f} to {max(times):.2f} s, median {sorted(times)[len(times) // 2]:.2f}; {memory:.0f} MiB at most")
