#!/bin/sh
# What perf probe does, then perf record: perf.sh PID BINARY NAME=FILE_OFFSET...; ends on SIGINT and removes its probes.
#
# perf probe itself refuses the stripped target ("has no debug information"), so the probes are written to tracefs here.
pid=$1 binary=$2
shift 2
group=colorival events=/sys/kernel/tracing/uprobe_events
directory=$(mktemp -d)
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing || exit 1
gone() {
    for place; do echo "-:$group/${place%=*}"; echo "-:$group/${place%=*}_ret"; done | while read -r line; do
        echo "$line" >>"$events"
    done
    rm -rf "$directory"
}
trap 'kill -INT "$child" 2>/dev/null' INT TERM
for place; do
    name=${place%=*} offset=${place#*=}
    echo "p:$group/$name $binary:$offset" >>"$events" && echo "r:$group/${name}_ret $binary:$offset" >>"$events" || exit 1
done
perf record -q -o "$directory/data" -e "$group:*" -p "$pid" >/dev/null 2>&1 &
child=$!
wait "$child"
wait "$child"
gone "$@"
