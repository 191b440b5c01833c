# Sourced by cli_test.sh.

# Help is an answer, and every command shows an example.
expect 0 'Usage' --help
expect 0 '^[0-9]+\.[0-9]+' --version
for command in $("$crossover" --help | sed -n '/^Subcommands:/,$ s/^  \([a-z]\+\) .*/\1/p'); do
  expect 0 'Example' "$command" --help
done

# Bad usage: one line, exit 4.
expect 4 'crossover' 
expect 4 'crossover' no-such-command
expect 4 'crossover' list --no-such-option
expect 4 'crossover' cache
expect 4 'crossover' cache wipe

# list and cache
expect 0 'demo_decode +Small decode' list
expect 0 '0  bytes in' cache list
mkdir -p "$scratch/cache/model"
echo 123 > "$scratch/cache/model/part"
expect 0 ' 4  model' cache list
expect 4 'no tag of crossover' cache clear  # a folder that somebody else filled is left alone
[ -f "$scratch/cache/model/part" ] || complain "removed a folder that is not its own" cache clear

# knobs: the value and where it came from; what is unknown, empty or not allowed is refused.
expect 0 'CROSSOVER_GDN_PREFILL=auto  \(default\)' knobs
CROSSOVER_GDN_PREFILL=recurrent expect 0 'CROSSOVER_GDN_PREFILL=recurrent  \(env\)' knobs
expect 0 '"name": "CROSSOVER_QUANT_SCHEDULE"' knobs --json
CROSSOVER_GDN_PREFIL=recurrent expect 4 'CROSSOVER_GDN_PREFILL' knobs
CROSSOVER_GDN_PREFILL='' expect 4 'empty' knobs
CROSSOVER_GDN_PREFILL=fast expect 4 'recurrent, chunked' knobs

# report: a file that is none gets one line.
expect 4 'missing.json' report "$scratch/missing.json" --out "$scratch/report"
echo '{"schema": "crossover.result/1"' > "$scratch/broken.json"
expect 4 'broken.json' report "$scratch/broken.json" --out "$scratch/report"
expect 4 'out' report "$scratch/broken.json"
expect 4 'no result file' report --out "$scratch/report"
expect 4 'missing.sqlite' report --history "$scratch/missing.sqlite" --out "$scratch/report"
echo '{"benchmarks": [], "ceilings": {}, "peers": {}}' > "$scratch/kernels.json"
expect 0 'kernels.html' report "$scratch/kernels.json" --out "$scratch/kernels"
[ -f "$scratch/kernels/kernels.html" ] && [ ! -e "$scratch/kernels/report.html" ] || complain "no page of kernels alone" report
expect 4 'missing.json' report "$scratch/kernels.json" "$scratch/missing.json" --out "$scratch/kernels"
expect 4 'did you mean gbench' report "$scratch/broken.json" --out "$scratch/report" --export gbenhc=x

# doctor: one JSON object with rates that a machine can have.
expect 0 '"read_1_bytes_per_s": [1-9]' doctor --json
python=$(command -v python3 || command -v jq || true)
case $python in
  *python3) "$python" -m json.tool "$scratch/out" > "$scratch/err" 2>&1 || complain "not JSON" doctor --json ;;
  *jq) "$python" . "$scratch/out" > "$scratch/err" 2>&1 || complain "not JSON" doctor --json ;;
esac
expect 0 '^read bandwidth ' doctor
if grep -q 'backend cuda: ' "$scratch/out"; then  # no GPU, or a build without CUDA: one line that says why, before anything is made
  CROSSOVER_CACHE_DIR="$scratch/cuda-cache" expect 4 'backend cuda: ' run demo_decode --set '/workload/backend="cuda"' --out "$scratch/no-cuda"
  CROSSOVER_CACHE_DIR="$scratch/cuda-cache" expect 4 'backend cuda: ' run cold_load_device_quantize --out "$scratch/no-cuda"
  [ ! -e "$scratch/cuda-cache" ] || complain "made a model for a backend that cannot run" run demo_decode
fi

# calibrate: rates of simulated programs and of real processes
expect 0 'false verdicts' calibrate --experiments 200 --shape drift ar1
expect 2 'more --experiments would decide' calibrate --experiments 60 --shape white order
expect 0 '"measure": "order_changed"' calibrate --experiments 20 --shape order --json
expect 4 'did you mean heavy-tail' calibrate --shape heavy-tial
expect 4 'odd' calibrate --experiments 5 --pairs 7
expect 4 '1 or more' calibrate --experiments 0
expect 0 'spawn to main' calibrate --overhead --out "$scratch"
aa=(calibrate --processes 2 --pairs 4 --set '/workload/env/ROUNDS="1000"' --out "$scratch/aa")
for more in "" --resume; do  # 2: one run in twenty sees a difference that is not there, and two runs are too few to tell
  code=0
  "$crossover" "${aa[@]}" --json $more > "$scratch/out" 2> "$scratch/err" || code=$?
  [ "$code" -eq 0 ] || [ "$code" -eq 2 ] || complain "exit $code" "${aa[@]}" "$more"
  grep -q '"seed": 2' "$scratch/out" || complain "no second run" "${aa[@]}" "$more"
done
expect 4 'not empty' "${aa[@]}"
expect 0 'took [0-9.]+ s' simulated-sample --shape ar1 --arm B --sample 3
expect 4 'no shape' simulated-sample --shape wight

# run and ab: verdicts, exit codes, bad scenarios in one line.
fast=(--set '/workload/env/ROUNDS="1000"' --set '/arms/B/workload/env/ROUNDS="1000"' --pairs 2)
expect 0 'determinism control' run external_example --dry-run
expect 2 'samples to take' run external_example "${fast[@]}" --out "$scratch/r1" --export "junit=$scratch/junit.xml"
grep -q '<testsuite name="external_example"' "$scratch/junit.xml" || complain "no JUnit file" run
expect 4 'holds the journal of another run' run external_example "${fast[@]}" --out "$scratch/r1"
expect 0 'INCONCLUSIVE' run external_example "${fast[@]}" --out "$scratch/r1" --resume --report-only
expect 3 'samples to take' run external_example "${fast[@]}" --out "$scratch/r2" --set '/workload/output/regex="(answer.*)"' \
  --set '/arms/B/workload/command=["echo","answer 1"]'
expect 4 "did you mean 'pairs'" run external_example --set /plan/pair=8
expect 4 'no JSON pointer' run external_example --set plan=8
expect 4 'did you mean external_example' run external_exampl
expect 4 'odd' run external_example --pairs 7
expect 4 'did you mean junit' run external_example --export junitt=x
printf '%100000s' '' | tr ' ' '[' > "$scratch/deep.json"
expect 4 'nests deeper' run "$scratch/deep.json"
printf '{"schema": "crossover.scenario/1", oops' > "$scratch/broken.json"
expect 4 'line 1' run "$scratch/broken.json"
printf '{"schema": "crossover.scenario/1", "a\\n\\u001b[2Jb": 1}' > "$scratch/control.json"
expect 4 'a.n.x1b\[2Jb' run "$scratch/control.json"  # what a file holds is quoted on one line, and a terminal is not told to do anything
expect 4 'cannot make the output folder' run external_example "${fast[@]}" --out "$scratch/broken.json/out"
CROSSOVER_ISA=auto expect 4 'CROSSOVER_ISA is set in the environment and by the scenario' \
  run external_example --set /arms/B/knobs/CROSSOVER_ISA=avx2
expect 2 '"crossover.scenario/1"' ab --a X=1 --b X=2 --pairs 2 --out "$scratch/ab" --metric 't_s=took ([0-9.]+)' -- sh -c 'echo took 1.5'
expect 4 'no NAME=VALUE' ab --a X --b Y=1 -- true
expect 4 'no command to measure' ab --a X=1 --b X=2
expect 4 'ended with exit code 3' ab --a X=1 --b X=2 --pairs 2 --quiet --out "$scratch/ab3" -- sh -c 'exit 3'

# Servers: nothing listens on port 9, and that is known before the first sample.
expect 0 'determinism control' run endpoint_example --dry-run
nobody=(--a-url http://127.0.0.1:9/v1 --b-url http://127.0.0.1:9/v1)
expect 4 'the first request of arm A, before the plan, failed: no answer from http://127.0.0.1:9/v1/completions' ab "${nobody[@]}" --quiet \
  --out "$scratch/nobody" --metric decode.tokens_per_s --set /workload/connect_timeout_s=2
expect 4 'go together' ab --a-url http://127.0.0.1:9/v1
expect 4 'leave out commands' ab "${nobody[@]}" -- true
expect 4 'name a metric' ab "${nobody[@]}" --metric 't=([0-9]+)'
expect 4 'name its variable in api_key_env' ab --a-url http://me:secret@h/v1 --b-url http://h/v1 --dry-run

# The engine's commands: what is not there or cannot be is said in one line.
expect 4 'qwen3.5-0.8b' synth no-such-preset --out "$scratch/none"
expect 4 'layers' synth tiny-dense --layers 3 --out "$scratch/none"
expect 4 'missing' quantize "$scratch/missing" --out "$scratch/x.gguf"
expect 4 'missing' generate "$scratch/missing" --tokens 1,2
expect 0 'bytes' synth tiny-dense --out "$scratch/tiny"
expect 0 '"tokens": *\[' generate "$scratch/tiny" --tokens 1,2,3 --max-tokens 2 --json
mkdir "$scratch/alone"
expect 0 '' quantize "$scratch/tiny" --out "$scratch/alone/tiny.gguf"
expect 0 '^\[[0-9, ]+\]$' generate "$scratch/alone/tiny.gguf" --prompt 'abc' --max-tokens 0  # its tokenizer is inside
expect 4 'crossover' generate "$scratch/tiny" --tokens 1,2,x
expect 4 '999999999' generate "$scratch/tiny" --tokens 999999999
expect 4 'q9_9' generate "$scratch/tiny" --tokens 1 --kv-k q9_9

# A difference that is there is found, and reports are made of several results.
cat > "$scratch/sleep.json" << 'SCENARIO'
{
  "schema": "crossover.scenario/1", "name": "sleep", "question": "Is a sleep of 40 ms longer than one of 1 ms?",
  "workload": {"kind": "external", "command": ["sleep", "0.001"], "metrics": {"wall_s": {}}},
  "arms": {"A": {}, "B": {"workload": {"command": ["sleep", "0.04"]}}},
  "plan": {"pairs": 8, "primary": "wall_s"}
}
SCENARIO
expect 1 'samples to take' run "$scratch/sleep.json" --out "$scratch/run"
grep -q '^SLOWER  sleep' "$scratch/out" || complain "no verdict on stdout" run sleep
grep -q '"word": "SLOWER"' "$scratch/run/result.json" || complain "no verdict in the result" run sleep
expect 0 'SLOWER' run "$scratch/sleep.json" --out "$scratch/again" --quiet --report-only
expect 0 'report.html' report "$scratch/run/result.json" "$scratch/again/result.json" --out "$scratch/report" --publish \
  --export "github=$scratch/annotations" --export "gbench=$scratch/gbench.json" --export "openmetrics=$scratch/metrics"
grep -q '^::error title=SLOWER' "$scratch/annotations" || complain "no annotation" report --export github
grep -q '^# EOF' "$scratch/metrics" || complain "no metrics" report --export openmetrics
[ -f "$scratch/report/sleep.html" ] || complain "no page beside the index" report

# Looking twice: declared, it stops where it may; more pairs than declared are a plan of their own.
expect 1 'look at 8 pairs: SLOWER; no further pairs are needed' run "$scratch/sleep.json" --out "$scratch/looks" --set '/plan/looks=[8,16]' --set /plan/pairs=16
grep -q '"alpha_spent": 0.029' "$scratch/looks/result.json" || complain "no alpha spent in the result" run looks
expect 0 'judged at 8, 16 pairs, each time at a level of 0.0294' run "$scratch/sleep.json" --set '/plan/looks=[8,16]' --set /plan/pairs=16 --dry-run
expect 4 'looks must rise' run "$scratch/sleep.json" --set '/plan/looks=[16,8]'
expect 1 'an unplanned extension of plan' run "$scratch/sleep.json" --out "$scratch/run" --resume --pairs 10
grep -q 'unplanned extension of plan .* (8 pairs)' "$scratch/out" || complain "the reason does not say so" run --pairs
[ -f "$scratch/run-10-pairs/result.json" ] || complain "no folder of its own" run --pairs

# The noise floor: measured, kept, used.
sed 's/0\.04/0.001/; s/"sleep", "question"/"nap", "question"/' "$scratch/sleep.json" > "$scratch/nap.json"
expect 4 'requires --noise' doctor --comparisons 20
expect 4 'comparisons' doctor --noise "$scratch/nap.json" --comparisons 9
expect 0 '^wall_s +[0-9.]+ %' doctor --noise "$scratch/nap.json" --out "$scratch/noise" --quiet
ls "$scratch"/state/crossover/noise/*/nap-*.json > "$scratch/out" 2>&1 || complain "no floor is kept" doctor --noise
expect 4 'another run' doctor --noise "$scratch/nap.json" --out "$scratch/noise"
expect 0 '"false_verdicts"' doctor --noise "$scratch/nap.json" --out "$scratch/noise" --resume --json
expect 0 '; noise floor [0-9.]+ % \(10 A/A comparisons of 4 pairs' run "$scratch/nap.json" --out "$scratch/nap" --quiet --report-only
expect 0 '^noise floor [0-9.]+ % at 8 pairs .*; differences from [0-9.]+ % on would be found' run "$scratch/nap.json" --dry-run

# history and compare: one result of many nights, each night in its own place in time.
export XDG_DATA_HOME=$scratch/data
expect 4 'there is no history in' history list
expect 4 'broken.json' history add "$scratch/broken.json"
expect 4 'no "schema"' history add "$scratch/sleep.json"
expect 0 'sleep .* added' history add "$scratch/run/result.json" "$scratch/again/result.json"
expect 0 'sleep .* was there already' history add "$scratch/run/result.json"
expect 0 'sleep .* SLOWER' history list --scenario sleep --since 2020
expect 0 '"plan_hash"' history list --json
expect 0 'crossover.result/1' history show 1
cmp -s "$scratch/out" "$scratch/run/result.json" || complain "not the file that was added" history show 1
expect 4 'there is no run 9 .*ids from 1 to 2' history show 9
expect 0 'too few for a change' history trend wall_s --arm A
expect 0 '"method": "E-divisive"' history trend wall_s --json
expect 4 'did you mean wall_s' history trend wal_s
expect 4 'subcommand' history
echo 'not a database, but long enough to be looked at' > "$scratch/none.sqlite"
expect 4 'is no SQLite file' history list --file "$scratch/none.sqlite"
sed 's|crossover.result/1|crossover.result/9|' "$scratch/run/result.json" > "$scratch/newer.json"
expect 4 'newer version' history add "$scratch/newer.json"
verdict() {  # CODE PATTERN ARGUMENT...: what compare says on stdout, and nothing on stderr
  local code=$1 pattern=$2 got=0
  shift 2
  "$crossover" "$@" > "$scratch/out" 2> "$scratch/err" < /dev/null || got=$?
  if [ "$got" -ne "$code" ]; then complain "exit $got instead of $code" "$@"
  elif ! grep -qE -- "$pattern" "$scratch/out" || [ -s "$scratch/err" ]; then complain "no '$pattern' alone" "$@"; fi
}
nights=()
for night in 10 11 12 13 14 15 16 17 18; do
  sed -E "s/(\"started_at\": \")[0-9-]+/\12025-01-$night/" "$scratch/run/result.json" > "$scratch/night$night.json"
  nights+=("$scratch/night$night.json")
done
sed -E 's/("started_at": ")[0-9-]+/\12025-01-20/; s/("wall_s": )0\.0/\10.5/' "$scratch/run/result.json" > "$scratch/slow.json"
verdict 2 '^INCONCLUSIVE  sleep' compare "${nights[7]}" "$scratch/slow.json" --history "$scratch/data/crossover/history.sqlite"
grep -q 'crossover run .*both.json.* --set ./arms/A/workload/command=' "$scratch/out" || complain "no command that decides" compare
expect 0 'added' history add "${nights[@]}"
verdict 1 '^SLOWER  sleep' compare "${nights[8]}" "$scratch/slow.json"
expect 0 'EQUIVALENT' compare "${nights[7]}" "${nights[8]}"
expect 0 '"schema": "crossover.comparison/1"' compare "${nights[8]}" "$scratch/slow.json" --report-only --json
expect 0 'EQUIVALENT' compare "${nights[7]}" "${nights[8]}" --arm B --write-plan "$scratch/both.json"
expect 0 'plan ' run "$scratch/both.json" --dry-run
expect 4 'no metric x_s in common' compare "${nights[7]}" "${nights[8]}" --metric x_s
sed 's/"allowed_cores": [0-9]*/"allowed_cores": 777/' "${nights[8]}" > "$scratch/machine.json"
expect 4 'unlike machine: /cpu/allowed_cores is .* and 777 in NEW.*--allow-unlike machine' compare "${nights[7]}" "$scratch/machine.json"
expect 0 'allowed to be: machine' compare "${nights[7]}" "$scratch/machine.json" --allow-unlike machine
expect 4 'there is no history' compare "${nights[7]}" "${nights[8]}" --history "$scratch/missing.sqlite"
