#!/bin/busybox sh
# The guest's first process. The kernel's messages go to the first serial line, what is said here to
# the second. Lines that begin with ::vm:: are for the task that started the machine.

# What is in /bin already stays.
/bin/busybox --install -s /bin 2>/dev/null
# The kernel calls /sbin/modprobe.
ln -s bin /sbin
export PATH=/bin HOME=/ NO_COLOR=1 RUST_BACKTRACE=1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t bpf none /sys/fs/bpf
mount -t cgroup2 none /sys/fs/cgroup
mount -t securityfs none /sys/kernel/security
ip link set lo up
ulimit -n 1048576

# Through a pipe, so that nobody takes the line for a person's terminal.
mkfifo /out
stty -F /dev/ttyS1 raw
cat /out >/dev/ttyS1 &
line=$!
exec </dev/null >/out 2>&1

step() {
    name=$1
    shift
    printf '\n::vm:: begin %s\n' "$name"
    # By the guest's clock, which stands still while the machine is busy otherwise.
    timeout -s KILL "$step_max" "$@"
    printf '\n::vm:: end %s %s\n' "$name" $?
}

read -r up _ </proc/uptime
echo "::vm:: booted $(uname -r) after $up s"
. /steps

exec >/dev/null 2>&1
wait "$line"
poweroff -f
