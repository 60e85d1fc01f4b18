#!/busybox sh
# The guest's first process: lay a memory file system over the files of the machine outside, and go on in there.
# The kernel's command line has NETAPPLY_JOB, a folder outside: `mounts` for here, `main.sh` and `command` for later.
set -e
trap 'echo "the guest could not be set up"; /busybox poweroff -f' EXIT

/busybox mkdir -p /bin /proc /sys /dev /host /upper /root
/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done

# /host: outside, read-only; /upper: what is written here, in memory; /root: one over the other
mount -t tmpfs upper /upper
mkdir /upper/files /upper/work
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /host
mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root

# file systems that are the guest's own
for folder in proc sys dev; do mount --move "/$folder" "/root/$folder"; done
cd /root
mkdir dev/pts dev/shm
mount -t devpts -o ptmxmode=666 pts dev/pts
mount -t tmpfs shm dev/shm
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=755 run run
mkdir run/lock run/vm
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
ip link set lo up
hostname netapply-vm

# the way out: ports 1 and 2 for the command's output and errors, 3 for news of it
for number in 1 2 3; do
    until [ -c dev/vport?p$number ]; do sleep 0.02; done # the kernel makes them while this runs
    ln -s "/$(echo dev/vport?p$number)" run/vm/$number
done

. "/host$NETAPPLY_JOB/mounts"
cp /busybox "/host$NETAPPLY_JOB/main.sh" run/vm
exec switch_root /root /run/vm/busybox sh /run/vm/main.sh
