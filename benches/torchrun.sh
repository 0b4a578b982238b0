#!/usr/bin/env bash
# The smoke recipe under a real torchrun: two ranks, a rank that is killed and started again, a stop by SIGTERM with a
# checkpoint that one process goes on from. Says what fails.
#
# With KEEP=1 the run directories stay.
#
# usage: benches/torchrun.sh TORCHRUN [REFT]     torchrun comes with PyTorch; REFT is target/release/reft unless given
set -euo pipefail
torchrun=${1:?usage: benches/torchrun.sh TORCHRUN [REFT]}
reft=$(realpath "${2:-target/release/reft}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
runs=$(mktemp -d)
[ -n "${KEEP:-}" ] || trap 'rm -rf "$runs"' EXIT
export OMP_NUM_THREADS=1

train() { # NAME, options of torchrun
  local name=$1
  shift
  "$torchrun" --standalone --nproc-per-node 2 --no-python "$@" \
    "$reft" train configs/smoke.toml --runs "$runs" --name "$name" --set run.threads=1 >"$runs/$name.log" 2>&1
}
fail() {
  echo "FAILED: $1"
  tail -n 20 "$runs"/*.log
  exit 1
}
finished() { grep -q '"finished": *true' "$runs/$1/run.json" || fail "$1 has not finished"; }
reaches() { # NAME PHASE: waits for the first step of a phase
  until grep -qs "\"$2\"" "$runs/$1/metrics.jsonl"; do sleep 0.05; done
}
rank() { pgrep -f "^$reft train configs/smoke.toml .*--name $1 " | tail -n 1; }

train two || fail "two ranks"
finished two
echo "two ranks: finished"

train killed --max-restarts 2 &
reaches killed choice
kill -KILL "$(rank killed)"
wait $! || fail "torchrun did not start the ranks again"
finished killed
cmp -s "$runs/two/metrics.jsonl" "$runs/killed/metrics.jsonl" || fail "a killed rank has changed the numbers"
cmp -s "$runs/two/final/model.safetensors" "$runs/killed/final/model.safetensors" || fail "a killed rank has changed the weights"
echo "a rank killed: started again, the same bytes as without"

train stopped &
reaches stopped choice
kill -TERM "$(pgrep -P $!)" # torchrun itself, which the shell has started for us
wait $! && fail "a stop should not look like success"
"$reft" train --resume "$runs/stopped" >"$runs/stopped-alone.log" 2>&1 || fail "one process does not go on from the checkpoint of two"
finished stopped
echo "stopped by SIGTERM: one process went on from the checkpoint of two"
