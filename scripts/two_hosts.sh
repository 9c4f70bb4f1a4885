#!/usr/bin/env bash
# Runs the engine of shared/comm for processes across two hosts: two network namespaces
# of this machine, with names of their own and a cable between them. mpirun reaches the
# second by nsenter instead of ssh. What it makes, it takes away at every end.
#
#     scripts/two_hosts.sh              # parity, and failures across hosts
#     scripts/two_hosts.sh one_panics   # these cases of shared/comm/tests/mpi
#
# Needs what scripts/mpi.sh needs, root, and `ip` (iproute2). Exit status 3: something
# of that is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "SKIPPED: two hosts: $1" >&2
    exit 3
}
[ "$(id -u)" = 0 ] || skip 'network namespaces need root'
for tool in ip nsenter unshare mpirun; do
    command -v $tool >/dev/null || skip "no $tool here"
done

# Names of this run's own, of which a network interface may have 15 letters.
a=fa$$ b=fb$$
folder=$(mktemp -d)
clean() {
    local status=$?
    trap - EXIT
    # Whatever still runs there.
    for name in $a $b; do
        ip netns pids $name 2>/dev/null | xargs -r kill -9 || true
        ip netns del $name 2>/dev/null || true
    done
    for file in "$folder"/uts_*; do umount "$file" 2>/dev/null || true; done
    rm -rf "$folder"
    exit $status
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ip netns add $a 2>"$folder/why" || skip "no network namespace: $(cat "$folder/why")"
ip netns add $b
ip link add v$a type veth peer name v$b
ip link set v$a netns $a
ip link set v$b netns $b
ip -n $a addr add 10.77.0.1/24 dev v$a
ip -n $b addr add 10.77.0.2/24 dev v$b
for name in $a $b; do
    ip -n $name link set lo up
    ip -n $name link set v$name up
    touch "$folder/uts_$name"
    unshare --uts="$folder/uts_$name" hostname "host-$name"
done

# In place of ssh: HOST COMMAND...
cat >"$folder/agent" <<END
#!/bin/bash
case \$1 in 10.77.0.1) name=$a ;; 10.77.0.2) name=$b ;; *) exit 1 ;; esac
shift
exec nsenter --net=/run/netns/\$name --uts=$folder/uts_\$name -- bash -c "\$*"
END
# In place of mpirun; ranks go to the hosts in turns.
cat >"$folder/mpirun" <<END
#!/bin/bash
exec nsenter --net=/run/netns/$a --uts=$folder/uts_$a -- mpirun \\
    --mca plm rsh --mca plm_rsh_agent $folder/agent --map-by node \\
    --host 10.77.0.1:8,10.77.0.2:8 --mca oob_tcp_if_include 10.77.0.0/24 \\
    --mca btl_tcp_if_include 10.77.0.0/24 --mca btl self,vader,tcp --mca pml ob1 "\$@"
END
chmod +x "$folder/agent" "$folder/mpirun"

if [ $# = 0 ]; then
    # The chapters' parity with chapter 1, two ranks on each host.
    cargo build --locked --quiet --package parity --features mpi
    "$folder/mpirun" --allow-run-as-root --oversubscribe --bind-to none -n 4 \
        "${CARGO_TARGET_DIR:-$PWD/target}/debug/parity_of_processes"
    set -- parity another_shape everyone_sends_first one_returns_early one_fails \
        one_panics one_exits one_is_killed one_is_killed_in_the_middle
fi
# The ranks say where they are, and it must be two places.
HOSTS=2 MPIRUN=$folder/mpirun scripts/mpi.sh "$@"
bytes=$(ip netns exec $b cat /sys/class/net/v$b/statistics/rx_bytes)
echo "$bytes bytes went from the first host to the second"
