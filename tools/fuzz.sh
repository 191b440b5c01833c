#!/usr/bin/env bash
# Builds the fuzzers (clang, libFuzzer, address and undefined-behaviour sanitizers) and runs each of them.
#   tools/fuzz.sh [SECONDS] [TARGET...]
# SECONDS for each target, default 60; without TARGET all of fuzz/*.cpp. What is found is kept in build/fuzzers/found; an input that was a
# defect belongs into fuzz/corpus/TARGET, where the ordinary tests run it. Example: tools/fuzz.sh 300 gguf
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

case ${1:-} in -h | --help) sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "'$seconds' is no number of seconds; usage: tools/fuzz.sh [SECONDS] [TARGET...]"
shift $(($# > 0 ? 1 : 0))
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^void \([a-z]*\)(std::string_view.*/\1/p' "$root/fuzz/fuzz_targets.h")
for target in "${targets[@]}"; do
  [ -d "$root/fuzz/corpus/$target" ] || fail "there is no fuzzer '$target'; choose from $(ls "$root/fuzz/corpus" | tr '\n' ' ')"
done

folder=$root/build/fuzzers
need_packages "${build_packages[@]}" clang libclang-rt-14-dev
build "$folder" fuzzers -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DCROSSOVER_FUZZ=ON -DCROSSOVER_TESTS=OFF

bad=()
for target in "${targets[@]}"; do
  grown=$folder/corpus/$target  # what a run learns stays in the build folder
  mkdir -p "$grown" "$folder/found"
  log=$folder/$target.log
  if "$folder/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=65536 \
    -print_final_stats=1 -artifact_prefix="$folder/found/$target-" "$grown" "$root/fuzz/corpus/$target" > "$log" 2>&1; then
    echo "$target: clean, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
  else
    echo "$target: DEFECT, $(grep -m 1 -E 'ERROR|SUMMARY|runtime error' "$log" || tail -1 "$log"); see $log and $folder/found"
    bad+=("$target")
  fi
done
[ ${#bad[@]} -eq 0 ] || fail "defects in ${bad[*]}"
