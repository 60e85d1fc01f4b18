# The guest's first process once it has its files: run the command, and send outside what it prints and how it ended.
cd /run/vm
b=/run/vm/busybox # /bin is the machine's outside, whatever it has

$b mkfifo out err

# Copy one of the pipes to a port, and close that with END, as tests/vm/run.py knows it: a port has no end of its own.
relay() {
    exec > "$2"
    $b cat "$1" &
    echo $! > "$1.pid"
    wait $!
    printf '\0\1end\1\0'
}

relay out 1 &
relays=$!
relay err 2 &
relays="$relays $!"

exec 3> 3
echo ready >&3
$b setsid /bin/sh "$NETAPPLY_JOB/command" < /dev/null > out 2> err 3>&-
status=$?

# The pipes end with the last process that has them open. A daemon that the command left is given three seconds.
(
    exec 3>&-
    $b sleep 3
    $b kill $($b cat out.pid err.pid)
) &
wait $relays
$b sync
echo "status $status" >&3
while :; do $b sleep 60; done # the machine is stopped from outside
