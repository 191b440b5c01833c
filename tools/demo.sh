#!/usr/bin/env bash
# The main job on this machine, no download and no GPU: builds Release, then measures three small questions, each A against B in
# both orders, and prints the verdicts and where the report is. Exit 0 for every verdict but INVALID (3); 4 = it did not work.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_packages "${build_packages[@]}"
build "$root/build/release" crossover -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_TESTS=OFF
crossover=$root/build/release/crossover

out=$root/crossover-out/demo/$(date -u +%Y-%m-%dT%H%M%SZ)
results=() worst=0
for name in demo_cold_load demo_prefill demo_decode; do
  code=0
  "$crossover" run "$root/scenarios/$name.json" --out "$out/$name" || code=$?
  case $code in
    0 | 1 | 2) ;;
    3) worst=3 ;;
    *) exit "$code" ;;
  esac
  results+=("$out/$name/result.json")
  echo
done
"$crossover" report "${results[@]}" --out "$out/report"
exit $worst
