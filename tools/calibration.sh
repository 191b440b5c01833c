#!/usr/bin/env bash
# Makes reports/calibration.md anew: simulated programs, real processes, what the harness costs.
#   tools/calibration.sh MACHINE [RUNS]
#   Example: tools/calibration.sh zen4 100
# MACHINE names results/calibration_processes-MACHINE.json and harness_overhead-MACHINE.json, which the page has to cite; a run takes
# three seconds on an idle machine. Simulated programs give the same numbers everywhere (results/calibration-simulated.json).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 1 ] || fail "name the machine: tools/calibration.sh MACHINE [RUNS]"
machine=$1
runs=${2:-100}
need_packages "${build_packages[@]}" libgtest-dev
build "$root/build/test" all -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_TESTS=ON
crossover=$root/build/test/crossover
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

first=()
# keep NAME ARGUMENT...: a file is kept whether its criteria hold or not (3: one fails); everything else is an error.
keep() {
  local name=$1 code=0
  shift
  "${first[@]}" "$crossover" calibrate "$@" --json > "$out/$name.json" || code=$?
  [ "$code" -eq 0 ] || [ "$code" -eq 2 ] || [ "$code" -eq 3 ] || fail "crossover calibrate $* ended with exit code $code"
  mv "$out/$name.json" "$root/results/$name.json"
}

keep calibration-simulated
keep "calibration_processes-$machine" --processes "$runs" --out "$out/runs"
if chrt -f 1 true 2> /dev/null; then first=(chrt -f 1); fi  # what else runs is not the harness's cost
keep "harness_overhead-$machine" --overhead
CROSSOVER_UPDATE_PAGES=1 "$root/build/test/bench/bench_tests" --gtest_filter='ReportPages.*' --gtest_brief=1
