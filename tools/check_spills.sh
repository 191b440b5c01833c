#!/usr/bin/env bash
# Fails where the compiler of device code put registers into memory: a spill or a stack frame in any kernel, for any architecture. And where it
# let a warpgroup's products wait for each other, which it says and does when registers of theirs are used too early.
#   tools/check_spills.sh BUILD-FOLDER NUMBER-OF-FILES
set -euo pipefail
mapfile -t reports < <(find "$1" -name '*.cu.o.report')
[ ${#reports[@]} -eq "$2" ] || { echo "check_spills: found ${#reports[@]} compiler reports below $1, expected $2; build again" >&2; exit 1; }
# A stack frame is allowed to: RopeAngles (reduction of large arguments of sin and cos in double; once per pass).
awk -v allowed='RopeAngles' '
  /Compiling entry function/ { match($0, /'\''[^'\'']+'\''/); kernel = substr($0, RSTART + 1, RLENGTH - 2); architecture = $NF }
  /are serialized/ { print "check_spills: " $0; bad = 1 }
  /bytes stack frame/ {
    frame = $1; spills = $5 + $9; ++seen
    if (spills > 0 || (frame > 0 && kernel !~ allowed)) { print "check_spills: " kernel " for " architecture ": " $0; bad = 1 }
  }
  END { if (!seen) { print "check_spills: the reports name no kernel"; bad = 1 } else print seen " kernels looked at"; exit bad }
' "${reports[@]}"
