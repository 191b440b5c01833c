#!/usr/bin/env bash
# Checks the cuda backend on a GPU node, from a bundle (tools/bundle.sh), inside 9 minutes: tests, kernels beside their ceilings, scenarios. At
# the end tables of what was measured, and one that says of each step whether it passed, failed or was not run.
#   tools/gpu_check.sh [--dry-run] [OUT-FOLDER]
# --dry-run: what needs no GPU: every program starts and knows the tests that are asked of it, every scenario can be planned (for the CPU).
# Steps with the most information come first. Each has a share of the time, and what those before it left of theirs; it writes OUT-FOLDER/STEP.log.
# Exit code: 0 all that this machine can run passed, 1 one failed, 4 no GPU.
set -uo pipefail
bundle=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
dry=
[ "${1:-}" = --dry-run ] && dry=yes && shift
out=${1:-$bundle/out}
# The node's own C++ library, or the bundle's where there is none or an older one.
"$bundle/bin/crossover" --version > /dev/null 2>&1 || export LD_LIBRARY_PATH=$bundle/lib/cxx${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
rows=() failed=0 began=$SECONDS due=0
readonly all_shares=535  # seconds

if [ -z "$dry" ]; then
  why=$("$bundle/bin/crossover_gpu_micro" '--benchmark_filter=^none$' 2>&1)
  code=$?
  if [ $code -ne 0 ]; then
    echo "gpu_check.sh: ${why%%$'\n'*}" >&2
    [ $code -eq 4 ] || exit 1
    exit 4
  fi
fi
mkdir -p "$out" || exit 1
if [ -f "$bundle/lib/traces.tar.xz" ] && [ ! -e "$bundle/lib/libnvperf_host.so" ]; then  # without them traces tell less, and say so
  tar -C "$bundle/lib" -xJf "$bundle/lib/traces.tar.xz" 2> /dev/null || python3 -m tarfile -e "$bundle/lib/traces.tar.xz" "$bundle/lib" 2> /dev/null || true
fi
cache=
[ -n "${CROSSOVER_CACHE_DIR:-}" ] || cache=$out/cache
export CROSSOVER_CACHE_DIR=${CROSSOVER_CACHE_DIR:-$cache}
if [ -z "${CROSSOVER_GOLDEN:-}" ] && [ -f "$bundle/tests/golden.tar.gz" ]; then
  mkdir -p "$out/golden" && tar -C "$out/golden" -xzf "$bundle/tests/golden.tar.gz" && export CROSSOVER_GOLDEN=$out/golden
fi

# step NAME SHARE COMMAND...: SHARE in seconds; its output goes to OUT/NAME.log
step() {
  local name=$1 limit code start=$SECONDS
  due=$((due + $2)) limit=$((began + due - SECONDS))
  shift 2
  if [ $limit -lt 5 ]; then
    rows+=("| $name | not run | the time is used up |")
    failed=1
    return
  fi
  timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1 < /dev/null
  code=$?
  case $code in
    0) rows+=("| $name | passed | $((SECONDS - start)) s$(told "$out/$name.log") |") ;;
    124 | 137) rows+=("| $name | failed | longer than $limit s, see $out/$name.log |"); failed=1 ;;
    *) rows+=("| $name | failed | exit code $code, $((SECONDS - start)) s$(told "$out/$name.log"); see $out/$name.log |"); failed=1 ;;
  esac
}

# not_run NAME SHARE WHY: what this machine cannot do; its time is the next ones'
not_run() {
  due=$((due + $2))
  rows+=("| $1 | not run | $3 |")
}

# What a log says in few words: how many tests passed, failed or were skipped; the verdict of a scenario.
told() {
  sed -nE -e 's/^\[  (PASSED|FAILED|SKIPPED) +\] ([0-9]+ tests?)[.,].*/, \2 \1/p' -e 's/^([A-Z]+)  ([a-z0-9_]+)$/, \1/p' "$1" | tr -d '\n'
}

# A pattern that fits no test would pass on the node.
each_pattern_fits='IFS=: read -ra patterns <<< "$2"
for pattern in "${patterns[@]}"; do
  "$1" --gtest_list_tests --gtest_filter="$pattern" | grep -q "^  " || { echo "no test fits $pattern"; exit 1; }
done'

# tests NAME SHARE PROGRAM FILTER [UNDER...]: its tests, run under another program where one is named
tests() {
  local name=$1 share=$2 program=$bundle/bin/$3 filter=$4
  shift 4
  if [ -n "$dry" ]; then
    step "$name" "$share" bash -c "$each_pattern_fits" tests "$program" "$filter"
  else
    step "$name" "$share" "$@" "$program" "--gtest_filter=$filter"
  fi
}

# scenario NAME SHARE SCENARIO OPTION...: on the GPU, a few pairs. The page cache stays as it is where a container does not show it (doctor).
scenario() {
  local name=$1 share=$2 file=$bundle/scenarios/$3.json backend=cuda page_cache=(--set '/workload/page_cache="as-is"')
  shift 3
  [ -z "$dry" ] || backend=cpu
  grep -q '^page cache  *good' "$out/doctor.log" && page_cache=()
  rm -rf "${out:?}/$name"
  step "$name" "$share" "$bundle/bin/crossover" run "$file" --out "$out/$name" --pairs 2 --quiet --report-only ${dry:+--dry-run} \
    --set "/workload/backend=\"$backend\"" "${page_cache[@]}" "$@"
}

# sanitizer TOOL SHARE: a few cases of every operation under compute-sanitizer, which not every machine has and not every one lets watch its GPU
sanitizer() {
  local name=sanitizer_$1 before=$failed program
  program=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
  [ -n "$dry$program" ] || { not_run "$name" "$2" "compute-sanitizer not found"; return; }
  tests "$name" "$2" cuda_tests '*CudaOps.AFewEqualReference/*:CudaQuantize.BytesEqualPlainLoops' "$program" --tool "$1" --error-exitcode 9
  if [ -z "$dry" ] && grep -q 'Device not supported' "$out/$name.log"; then
    unset 'rows[-1]'
    rows+=("| $name | not run | compute-sanitizer cannot watch this GPU, see $out/$name.log |")
    failed=$before
  fi
}

# Seconds add up to all_shares.
if [ -n "$dry" ]; then step doctor 30 "$bundle/bin/crossover" --version
else step doctor 30 "$bundle/bin/crossover" doctor; fi
tests operations 90 cuda_tests '*-*AFewEqualReference*'
tests golden_logits 50 cuda_engine_tests '*-*CudaGreedy*'
tests greedy_tokens 30 cuda_engine_tests '*CudaGreedy*'
step kernels 95 "$bundle/bin/crossover_gpu_micro" "--benchmark_out=$out/kernels.json" --benchmark_out_format=json ${dry:+--benchmark_list_tests}
for shape in qwen3.6-27b qwen3.6-35b-a3b; do  # real shapes, 8 layers
  scenario "end_to_end_$shape" 50 prefill_gdn_chunked --set "/workload/model={\"synth\":\"$shape\",\"layers\":8,\"vocab\":8192,\"seed\":1}" \
    --set /workload/prompt_tokens=2048 --set /workload/generate_tokens=512 --set /workload/kv_capacity_tokens=4096
done
for tool in memcheck racecheck; do sanitizer $tool 35; done
scenario decode_graph 20 decode_graph
scenario decode_overlap 15 decode_overlap
scenario cold_load 25 cold_load_device_quantize --set '/workload/model={"synth":"qwen3.6-27b","layers":8,"vocab":8192,"seed":1}'
scenario decode 10 demo_decode --set /workload/generate_tokens=1500 --set /workload/kv_capacity_tokens=2048
[ -z "$cache" ] || rm -rf "$cache"

if [ -z "$dry" ]; then
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null
  grep -E '^(gpu|nccl|cuBLASLt|CUPTI) ' "$out/doctor.log"
  grep '^greedy ' "$out/greedy_tokens.log"
  for summary in "$out"/*/summary.md; do
    [ -f "$summary" ] && printf '\n%s\n\n' "$(basename "$(dirname "$summary")")" && sed -n '/^| metric/,/^$/p' "$summary"
  done
  [ -f "$out/kernels.log" ] && sed -n '/^| kernel/,$p' "$out/kernels.log"
fi
printf '\n| step | result | |\n|---|---|---|\n'
printf '%s\n' "${rows[@]}"
[ $due -le $all_shares ] || { echo "gpu_check.sh: its steps have $due s, at most $all_shares are wanted" >&2; exit 1; }
exit $failed
