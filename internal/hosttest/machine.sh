#!/usr/bin/env bash
# Becomes the first process of a Machine: systemd, in namespaces of its own, on a copy of this
# machine's file system that is written to DIR/upper.
#
#   machine.sh NAME DIR [UNIT...]
#
# The units are those that start with the machine, besides what Debian always starts.
set -euo pipefail
name=$1 dir=$2 root=$2/root cgroup=${2##*/}
shift 2

# hierarchies lists where cgroups are mounted, each with its controllers; version 2 has none.
hierarchies() { awk '$3 == "cgroup" {print $2, $4} $3 == "cgroup2" {print $2, ""}' /proc/self/mounts; }

if [[ ${MACHINE_INSIDE:-} == "" ]]; then
	# The namespace takes the cgroup that this process is in for the root.
	while read -r at _; do
		mkdir -p "$at/$cgroup"
		for file in cpuset.cpus cpuset.mems; do
			[[ ! -e $at/notify_on_release || ! -e $at/$file ]] || cat "$at/$file" >"$at/$cgroup/$file"
		done
		echo $$ >"$at/$cgroup/cgroup.procs"
	done < <(hierarchies)
	MACHINE_INSIDE=yes exec unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child -- "$BASH" "$0" "$name" "$dir" "$@"
fi

mount --make-rprivate /
cgroups=$(hierarchies)
# Of / alone: what is mounted below it is not in the copy.
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
# What is below net is the namespace's own. The rest is this machine's, and stays as it is.
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount --rbind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
[[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]] || mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
while read -r at options; do
	[[ -d $root$at ]] || mkdir "$root$at"
	case $options in
	"") mount -t cgroup2 cgroup "$root$at" ;;
	*name=*) mount -t cgroup -o "none,name=${options##*name=}" cgroup "$root$at" ;;
	*) mount -t cgroup -o "${options##*relatime,}" cgroup "$root$at" ;;
	esac
done <<<"$cgroups"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for n in 0/stdin 1/stdout 2/stderr; do ln -s "fd/${n%/*}" "$root/dev/${n#*/}"; done
mount -t tmpfs shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
# An overlay cannot be on an overlay.
mkdir -p "$root/var/lib/docker"
mount --bind "$dir/docker" "$root/var/lib/docker"

hostname "$name"
echo "$name" >"$root/etc/hostname"
: >"$root/etc/machine-id"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
# Of what is installed on this machine, only what is named starts on that one.
find "$root/etc/systemd/system" -mindepth 2 -path '*.wants/*' -delete
for unit; do
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -s "/lib/systemd/system/$unit" "$root/etc/systemd/system/multi-user.target.wants/$unit"
done

cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --log-target=journal systemd.unit=multi-user.target
