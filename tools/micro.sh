#!/usr/bin/env bash
# Builds the kernel benchmarks and writes their numbers, and the page that shows them where one is named.
#   tools/micro.sh OUT.json [--page PAGE.md] [--peer NAME=PATH]... [BENCHMARK-OPTION...]
#   Example: tools/micro.sh results/kernels-zen4.json --page reports/kernels.md --benchmark_repetitions=3
# The options are those at the head of bench/micro/main.cpp; a peer is another program's own benchmark (bench/micro/table.h).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 1 ] || fail "name the file to write: tools/micro.sh OUT.json"
out=$1
shift
need_packages "${build_packages[@]}" libbenchmark-dev
build "$root/build/micro" crossover_micro -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_TESTS=OFF -DCROSSOVER_MICRO=ON -DCROSSOVER_CUDA=OFF
"$root/build/micro/crossover_micro" --out "$out" "$@"
