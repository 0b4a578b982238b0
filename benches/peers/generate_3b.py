"""The rollout of benches/cuda.rs by transformers' generate(): the same shape, random bf16 weights, 8 prompts of about
1,000 tokens (900 of them one image), 8 completions of exactly 256 tokens for each, sdpa, one batch of 64.

usage: python benches/peers/generate_3b.py [--device cuda] [--small]; needs torch and transformers.
"""
import argparse
import time

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda")
parser.add_argument("--small", action="store_true", help="two layers, to try the script on a CPU")
parser.add_argument("--repetitions", type=int, default=2)
args = parser.parse_args()
PROMPTS, GROUP, PROMPT_TOKENS = 8, 8, 1000
NEW_TOKENS = 4 if args.small else 256
GRID = 8 if args.small else 60  # patches a side; four of them make a token
IMAGE, START, END = 151655, 151652, 151653

config = Qwen2_5_VLConfig(
    text_config=dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=11008, num_hidden_layers=2 if args.small else 36,
        num_attention_heads=16, num_key_value_heads=2, max_position_embeddings=128000, rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151645, pad_token_id=151643,
    ),
    vision_config=dict(
        depth=2 if args.small else 32, hidden_size=1280, intermediate_size=3420, num_heads=16, out_hidden_size=2048,
        patch_size=14, spatial_merge_size=2, temporal_patch_size=2, window_size=112,
        fullatt_block_indexes=[1] if args.small else [7, 15, 23, 31],
    ),
    image_token_id=IMAGE, vision_start_token_id=START, vision_end_token_id=END, tie_word_embeddings=True,
)
config._attn_implementation = "sdpa"
torch.manual_seed(0)
torch.set_default_dtype(torch.bfloat16)
with torch.device(args.device):
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} B parameters, {model.dtype}")
    n_image = GRID * GRID // 4
    text = torch.randint(0, 151643, (PROMPTS, PROMPT_TOKENS - n_image - 2))
    fixed = torch.tensor([START] + [IMAGE] * n_image + [END]).expand(PROMPTS, -1)
    ids = torch.cat([fixed, text], 1)
    inputs = dict(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == IMAGE).int(),
        pixel_values=torch.randn(PROMPTS * GRID * GRID, 3 * 2 * 14 * 14),
        image_grid_thw=torch.tensor([[1, GRID, GRID]] * PROMPTS),
    )


def generate(new_tokens):
    if args.device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.no_grad():
        out = model.generate(
            **inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=True, temperature=1.0, top_k=0,
            top_p=1.0, num_return_sequences=GROUP, pad_token_id=151643,
        )
    if args.device == "cuda":
        torch.cuda.synchronize()
    assert out.shape == (PROMPTS * GROUP, PROMPT_TOKENS + new_tokens), out.shape
    return time.perf_counter() - started


generate(2)
for _ in range(args.repetitions):
    first, whole = generate(1), generate(NEW_TOKENS)
    tokens = PROMPTS * GROUP * NEW_TOKENS
    step = (whole - first) / (NEW_TOKENS - 1)
    print(f"transformers: {whole:.2f} s, {tokens / whole:.0f} tokens/s; prompts and first token {first * 1e3:.0f} ms; "
          f"a decode step {step * 1e3:.2f} ms")
