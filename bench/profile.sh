#!/bin/bash
# Show where a fastgate worker spends its time under the browser-like load.
#
#   bench/profile.sh callgrind|strace|perf [SECONDS] [FLAG...]
#
# callgrind  instructions by function, user space only (valgrind; some 50 times slower)
# strace     system calls of the worker, counted
# perf       samples by function, kernel included (needs perf and permission to use it)
# FLAGs go to `fastgate run`. FASTGATE names another command, PYTHON another Python.
# Fewer connections (CONNECTIONS, default 64) show the cost of an event loop's round.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=${1:?callgrind, strace or perf}
seconds=${2:-3}
shift $(($# < 2 ? $# : 2))
python=${PYTHON:-python3}
out=bench/out
"$python" -c 'import sys; sys.path.insert(0, "bench"); from load import peers; peers.build()'

read -r -a fastgate <<<"${FASTGATE:-$python -m fastgate}"
port=$("$python" -c 'import sys; sys.path.insert(0, "bench"); from load import peers; print(peers.free_port())')
coproc backend { exec taskset -c 1 $out/backend 0 0; }
started=("$backend_PID")
trap 'kill "${started[@]}" 2>/dev/null || true; wait' EXIT
read -r one two <&"${backend[0]}"

under=()
if [ "$tool" = callgrind ]; then
    rm -f $out/callgrind.*
    under=(valgrind --quiet --tool=callgrind --trace-children=yes --instr-atstart=no
        "--callgrind-out-file=$PWD/$out/callgrind.%p")
fi
taskset -c 0 "${under[@]}" "${fastgate[@]}" run --listen "127.0.0.1:$port" \
    --upstream "127.0.0.1:$one" --upstream "127.0.0.1:$two" \
    --workers 1 --access-log off "$@" &
master=$!
started=("$master" "${started[@]}")

load() {
    taskset -c 1 wrk -t1 -c"${CONNECTIONS:-64}" -d"$1s" --timeout 10s \
        -s bench/load/browser.lua "http://127.0.0.1:$port/" | grep -E 'requests in|Socket|Non-2xx'
}
until curl --silent --output /dev/null "http://127.0.0.1:$port/"; do
    kill -0 "$master" # ends this script when the proxy has ended
    sleep 0.2
done

family() {
    for pid in "$master" $(pgrep -P "$master"); do
        echo "$pid $(cut -d' ' -f1 "/proc/$pid/schedstat")"
    done
}

echo "warm-up:"
before=$(family)
load 1
# The worker is whoever of the family the warm-up kept busiest.
worker=$({ echo "$before"; family; } | awk '
    $1 in since { if ($2 - since[$1] > most) { most = $2 - since[$1]; who = $1 } }
    { since[$1] = $2 }
    END { print who }')

echo "measured, process $worker:"
case $tool in
callgrind)
    callgrind_control --instr=on "$worker" >/dev/null
    load "$seconds"
    callgrind_control --instr=off "$worker" >/dev/null
    callgrind_control --dump "$worker" >/dev/null
    # The dump is the last numbered file of this process.
    callgrind_annotate "$(find $out -name "callgrind.$worker*" -size +1k | sort -V | tail -1)" |
        grep -E '^ *[0-9,]+ \(|^Ir|PROGRAM TOTALS' | head -40
    ;;
strace)
    strace -c -f -p "$worker" -o $out/strace &
    tracer=$!
    load "$seconds"
    kill -INT "$tracer"
    wait "$tracer" || true
    head -20 $out/strace
    ;;
perf)
    perf record --quiet --pid "$worker" --output $out/perf.data -- sleep "$seconds" &
    tracer=$!
    load "$seconds"
    wait "$tracer" || true
    perf report --input $out/perf.data --stdio --no-children --percent-limit 0.7 2>/dev/null |
        grep -vE '^#|^$' | head -40
    ;;
*)
    echo "profile: $tool is none of callgrind, strace, perf" >&2
    exit 2
    ;;
esac
