#!/usr/bin/env bash
# Builds everything with its tests and runs them.
#   tools/test.sh [--sanitize | --thread] [CTEST-OPTION...]
# --sanitize: address and undefined-behaviour sanitizers; --thread: thread sanitizer. Example: tools/test.sh -R cli
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

folder=$root/build/test
options=(-DCMAKE_BUILD_TYPE=Release -DCROSSOVER_TESTS=ON)
case ${1:-} in
  --sanitize) folder=$root/build/sanitize options+=(-DCROSSOVER_SANITIZE=address); shift ;;
  --thread) folder=$root/build/thread options+=(-DCROSSOVER_SANITIZE=thread); shift ;;
  -h | --help) sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
esac

need_packages "${build_packages[@]}" libgtest-dev libboost-context-dev
build "$folder" all "${options[@]}"
exec ctest --test-dir "$folder" --output-on-failure -j "$jobs" "$@"
