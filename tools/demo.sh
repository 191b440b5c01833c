#!/usr/bin/env bash
# The main job on this machine, no download and no GPU: builds Release, then measures three small questions, each A against B in
# both orders, and prints the verdicts and where the report is. Exit 0 for every verdict but INVALID (3); 4 = it did not work.
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

need_packages "${build_packages[@]}"
build "$root/build/release" crossover -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_TESTS=OFF -DCROSSOVER_CUDA=OFF
crossover=$root/build/release/crossover

# Files in memory or on an overlay (containers) cannot be put out of the page cache; then the cold load is measured as it is.
cache=${CROSSOVER_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:?demo.sh: set HOME or CROSSOVER_CACHE_DIR}/.cache}/crossover}
mkdir -p "$cache" || fail "cannot make the cache folder $cache; set CROSSOVER_CACHE_DIR"
cold=()
case $(stat -f -c %T "$cache") in
  tmpfs | ramfs | overlayfs)
    echo "$cache is not on a disk file system, so nothing can be evicted there: the load is measured warm" >&2
    cold=(--set /workload/page_cache=as-is) ;;
esac

out=$root/crossover-out/demo/$(date -u +%Y-%m-%dT%H%M%SZ)
results=() worst=0
for name in demo_cold_load demo_prefill demo_decode; do
  code=0
  options=()
  [ "$name" = demo_cold_load ] && options=("${cold[@]}")
  "$crossover" run "$root/scenarios/$name.json" --out "$out/$name" "${options[@]}" || code=$?
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
