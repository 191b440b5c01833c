#!/usr/bin/env bash
# tools/gpu_check.sh without a GPU: its scenarios can be planned, and it tells what it finds. Usage: gpu_check_test.sh CROSSOVER
set -uo pipefail
crossover=$1
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset CROSSOVER_GOLDEN CROSSOVER_CACHE_DIR
mkdir -p "$scratch"/{bin,tools}
cp "$root/tools/gpu_check.sh" "$scratch/tools/"
ln -s "$root/scenarios" "$scratch/scenarios"
failures=0

# program NAME TEXT CODE: one of the bundle that says so much
program() { printf '#!/bin/sh\necho "%s"\nexit %s\n' "$2" "$3" > "$scratch/bin/$1" && chmod +x "$scratch/bin/$1"; }

# expect CODE PATTERN ARGUMENT...: exit code; PATTERN is on a line of the output
expect() {
  local code=$1 pattern=$2 got=0
  shift 2
  "$scratch/tools/gpu_check.sh" "$@" "$scratch/out" > "$scratch/said" 2>&1 || got=$?
  [ "$got" -eq "$code" ] && grep -qE -- "$pattern" "$scratch/said" && return
  echo "FAILED: gpu_check.sh $*: exit $got, expected $code and '$pattern' in:"
  cat "$scratch/said" "$scratch"/out/*.log
  failures=$((failures + 1))
}

ln -s "$crossover" "$scratch/bin/crossover"
for name in crossover_gpu_micro cuda_tests cuda_engine_tests; do program $name "  Test" 0; done
expect 0 '^\| end_to_end_qwen3.6-35b-a3b \| passed ' --dry-run
program cuda_tests "no test" 0
expect 1 '^\| operations \| failed ' --dry-run

program crossover_gpu_micro "no GPU here" 4
expect 4 '^gpu_check.sh: no GPU here$'
[ "$(wc -l < "$scratch/said")" -eq 1 ] || { echo "FAILED: no GPU takes one line"; failures=$((failures + 1)); }

rm "$scratch/bin/crossover"
program crossover "EQUIVALENT  decode" 0
program crossover_gpu_micro "| kernel | us |" 0
program cuda_tests "[  PASSED  ] 42 tests." 0
expect 0 '^\| operations \| passed \| [0-9]+ s, 42 tests PASSED \|$'
expect 0 '^\| decode \| passed \| [0-9]+ s, EQUIVALENT \|$'
program cuda_engine_tests "[  FAILED  ] 1 test, listed below:" 1
expect 1 '^\| golden_logits \| failed \| exit code 1, [0-9]+ s, 1 test FAILED; '
[ "$failures" -eq 0 ] || exit 1
echo "gpu_check.sh: all as expected"
