"""The rollout of benches/rollout.rs by transformers' generate(): groups of answers to one image each, exactly 64 tokens.

usage: python benches/peers/generate_small.py CHECKPOINT                            workload W1
       python benches/peers/generate_small.py CHECKPOINT --prompts 1 --side 560     workload W2
CHECKPOINT comes from small_checkpoint.py; needs torch, torchvision, transformers and pillow.
"""
import argparse
import time

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
for name, value in dict(group=8, prompts=4, new=64, side=224, repetitions=3).items():
    parser.add_argument("--" + name, type=int, default=value)
args = parser.parse_args()

processor = AutoProcessor.from_pretrained(args.checkpoint)
processor.tokenizer.padding_side = "left"
model = Qwen2_5_VLForConditionalGeneration.from_pretrained(args.checkpoint, dtype=torch.float32).eval()
rng = np.random.default_rng(0)
question = "what is the answer to this question about the image?"
content = [{"type": "image"}, {"type": "text", "text": question}]
text = processor.apply_chat_template(
    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
)
texts, images = [], []
for _ in range(args.prompts):
    image = Image.fromarray(rng.integers(0, 255, (args.side, args.side, 3), dtype=np.uint8))
    texts += [text] * args.group
    images += [[image]] * args.group
inputs = processor(text=texts, images=images, return_tensors="pt", padding=True)
print("prompt tokens", inputs["input_ids"].shape[1])
for _ in range(args.repetitions):
    start = time.time()
    out = model.generate(
        **inputs, max_new_tokens=args.new, min_new_tokens=args.new, do_sample=True, temperature=1.0, top_p=1.0, top_k=0
    )
    seconds = time.time() - start
    print(f"{seconds:.2f} s, {out.shape[0] * args.new / seconds:.0f} tokens/s")
