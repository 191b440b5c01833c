#!/usr/bin/env bash
# Checks the cuda backend on a GPU node, from a bundle (tools/bundle.sh): tests, kernels beside their ceilings, one scenario. Inside 9 minutes;
# a table at the end says of each step whether it passed, failed or was not run.
#   tools/gpu_check.sh [OUT-FOLDER]
# Steps, each with a limit of its own: conformance of every operation, golden logits, kernels, prefill and decode of 8-layer shapes, a
# scenario, compute-sanitizer on small sizes where it is installed. Exit code: 0 all ran and passed, 1 one failed, 4 no GPU.
set -uo pipefail
bundle=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
out=${1:-$bundle/out}
mkdir -p "$out"
export CROSSOVER_CACHE_DIR=${CROSSOVER_CACHE_DIR:-$out/cache}
[ -d "$bundle/tests/models" ] && export CROSSOVER_GOLDEN=$bundle/tests
deadline=$((SECONDS + 525))
rows=() failed=0

# step NAME LIMIT-SECONDS COMMAND...: its output goes to OUT/NAME.log
step() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) code
  shift 2
  if [ $left -lt 10 ]; then
    rows+=("| $name | not run | the time is used up |")
    failed=1
    return
  fi
  [ $limit -lt $left ] || limit=$left
  local began=$SECONDS
  timeout "$limit" "$@" > "$out/$name.log" 2>&1
  code=$?
  case $code in
    0) rows+=("| $name | passed | $((SECONDS - began)) s |") ;;
    124) rows+=("| $name | failed | longer than $limit s, see $out/$name.log |"); failed=1 ;;
    *) rows+=("| $name | failed | exit code $code, $((SECONDS - began)) s, see $out/$name.log |"); failed=1 ;;
  esac
}

"$bundle/bin/crossover" doctor --json > "$out/doctor.json" 2> "$out/doctor.log"
if ! grep -q '"cuda"' <(tr -d ' \n' < "$out/doctor.json" | grep -o '"backends":\[[^]]*\]'); then
  echo "gpu_check.sh: $("$bundle/bin/crossover_gpu_micro" 2>&1 | head -1)" >&2
  exit 4
fi

step operations 150 "$bundle/bin/cuda_tests"
step golden_logits 90 "$bundle/bin/cuda_engine_tests"
step kernels 150 "$bundle/bin/crossover_gpu_micro" "--benchmark_out=$out/kernels.json" --benchmark_out_format=json
for shape in qwen3.6-27b qwen3.6-35b-a3b; do
  step "end_to_end_$shape" 60 "$bundle/bin/crossover" run "$bundle/scenarios/prefill_gdn_chunked.json" --out "$out/$shape" --pairs 2 --quiet --report-only \
    --set "/workload/model={\"synth\":\"$shape\",\"layers\":8,\"vocab\":8192,\"seed\":1}" --set '/workload/backend="cuda"' \
    --set /workload/prompt_tokens=2048 --set /workload/generate_tokens=32
done
step scenario 60 "$bundle/bin/crossover" run "$bundle/scenarios/demo_decode.json" --out "$out/demo_decode" --quiet --report-only --set '/workload/backend="cuda"'
if sanitizer=$(command -v compute-sanitizer); then
  for tool in memcheck racecheck; do
    step "sanitizer_$tool" 120 "$sanitizer" --tool "$tool" --error-exitcode 9 "$bundle/bin/cuda_tests" \
      --gtest_filter='*/rms_norm:*/conv1d_silu:*/gdn_chunked:*/moe_route:*/kv_write'
  done
else
  rows+=("| sanitizer | not run | compute-sanitizer is not installed here |")
fi

[ -f "$out/kernels.log" ] && sed -n '/^| kernel/,$p' "$out/kernels.log"
printf '\n| step | result | |\n|---|---|---|\n'
printf '%s\n' "${rows[@]}"
exit $failed
