#!/usr/bin/env bash
# The command line from outside: exit codes, streams and messages of good and bad usage. Usage: cli_test.sh CROSSOVER
set -uo pipefail
crossover=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CROSSOVER_CACHE_DIR=$scratch/cache XDG_STATE_HOME=$scratch/state
failures=0

# expect CODE PATTERN ARGUMENT...: exit code; PATTERN is in stdout for code 0, else on the one line of stderr.
expect() {
  local code=$1 pattern=$2 got=0
  shift 2
  "$crossover" "$@" > "$scratch/out" 2> "$scratch/err" < /dev/null || got=$?
  local text=$scratch/out
  [ "$code" -eq 0 ] || text=$scratch/err
  if [ "$got" -ne "$code" ]; then
    complain "exit $got instead of $code" "$@"
  elif ! grep -qE -- "$pattern" "$text"; then
    complain "no '$pattern' in $(basename "$text")" "$@"
  elif [ "$code" -eq 4 ] && [ "$(wc -l < "$scratch/err")" -ne 1 ]; then
    complain "an error takes one line" "$@"
  elif [ "$code" -eq 4 ] && [ -s "$scratch/out" ]; then
    complain "an error prints nothing on stdout" "$@"
  fi
}

complain() {
  local what=$1
  shift
  echo "FAILED: crossover $*: $what"
  head -5 "$scratch/out" "$scratch/err"
  failures=$((failures + 1))
}

source "$(dirname "${BASH_SOURCE[0]}")/cases.sh"

[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
echo "command line: all as expected"
