#!/usr/bin/env bash
# Installs the Debian package for real: in a copy of this machine's file system that is
# thrown away afterwards, with its dpkg, users and groups. Upgrades it, removes it, installs
# it again, purges it, and looks each time at what is there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

[[ $(id -u) == 0 ]] || die "package-check mounts file systems" "run it as root"
fix_hint="see the messages above"

# All mounts are in a namespace of this script, and end with it.
if [[ ${1:-} != --unshared ]]; then
	exec unshare --mount --pid --fork --kill-child -- "$0" --unshared
fi

work=$(mktemp -d /tmp/slipway-package-XXXXXX)
trap 'umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs slipway-package "$work"

# The folders where dpkg, users and units are belong to / on most machines. /dev and the
# like are empty in the copy, and no service manager runs in it.
mkdir -p "$work"/{upper,work,root,packages}
mount -t overlay slipway-package -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount --bind /dev "$work/root/dev"
mount -t proc proc "$work/root/proc"
mount -t tmpfs slipway-package "$work/root/run"
mkdir "$work/root/packages"
mount --bind "$work/packages" "$work/root/packages"

inside() { chroot "$work/root" "$@"; }
there() { [[ -e $work/root$1 ]] || die "$1 is not there $2" "see deploy/debian"; }
gone() { [[ ! -e $work/root$1 && ! -L $work/root$1 ]] || die "$1 is still there $2" "see deploy/debian"; }
# is WHAT FOUND WANT
is() { [[ $2 == "$3" ]] || die "$1: found '$2'; want '$3'" "see scripts/deb.sh and deploy/debian"; }

install_package() { inside dpkg -i --force-confold "/packages/slipway_$1_$arch.deb" </dev/null >/dev/null; }

arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=1000000000 COMPRESSION=none
make --no-print-directory -s build
for version in v1.0.0 v1.0.0-rc.1 v1.0.0-5-gabcdef0 v1.1.0 abcdef0; do
	scripts/deb.sh "$version" "$arch" bin "$work/packages"
done

say "versions are in their order"
before=
for version in 0~git20010909014640.abcdef0 1.0.0~rc.1 1.0.0 1.0.0+5.gabcdef0 1.1.0; do
	[[ -e $work/packages/slipway_${version}_$arch.deb ]] || die "there is no package $version" "see deb_version in scripts/deb.sh"
	dpkg --compare-versions "$version" gt "$before" || die "$version is not after $before" "see deb_version in scripts/deb.sh"
	before=$version
done

say "installing"
inside groupadd --system --force docker
install_package 1.0.0
for path in /usr/bin/{worker,enqueue} /usr/lib/systemd/system/slipway-{worker,server}.service \
	/etc/slipway/worker.env.example /usr/share/doc/slipway/{copyright,policy.example.yaml,users.conf}; do
	there "$path" "after the installation"
done
inside worker version >/dev/null
inside enqueue version >/dev/null
is "the user" "$(inside getent passwd slipway | cut -d : -f 6,7)" /var/lib/slipway:/usr/sbin/nologin
is "the user's groups" "$(inside id -nG slipway)" "slipway docker"
is "the owners of the files" "$(inside dpkg -L slipway | xargs chroot "$work/root" stat -c %U:%G | sort -u)" root:root
gone /etc/slipway/worker.env "without an operator"
for unit in worker server; do
	gone /etc/systemd/system/multi-user.target.wants/slipway-$unit.service "without an operator"
	is "systemd-analyze verify" "$(inside systemd-analyze verify --man=no /usr/lib/systemd/system/slipway-$unit.service 2>&1)" ""
done
gone /var/lib/slipway "before the unit's StateDirectory makes it"
inside dpkg --verify slipway

say "upgrading: what an operator changed is kept"
install -D -m 640 /dev/stdin "$work/root/etc/slipway/worker.env" <<<SLIPWAY_SLOTS=4
echo "# mine" >>"$work/root/etc/slipway/worker.env.example"
install -d "$work/root/var/lib/slipway/state" "$work/root/etc/systemd/system/multi-user.target.wants"
ln -s /usr/lib/systemd/system/slipway-worker.service "$work/root/etc/systemd/system/multi-user.target.wants/"
uid=$(inside id -u slipway)
install_package 1.1.0
install_package 1.1.0 # the same once more
# shellcheck disable=SC2016 # dpkg-query's fields
is "the version" "$(inside dpkg-query -f '${Version} ${db:Status-Abbrev}' -W slipway)" "1.1.0 ii "
is "the end of the example" "$(tail -n 1 "$work/root/etc/slipway/worker.env.example")" "# mine"
is "the settings" "$(cat "$work/root/etc/slipway/worker.env")" SLIPWAY_SLOTS=4
is "the user's number" "$(inside id -u slipway)" "$uid"

say "removing: settings and state are left"
inside dpkg --remove slipway >/dev/null
gone /usr/bin/worker "after the removal"
gone /usr/lib/systemd/system/slipway-worker.service "after the removal"
for path in /etc/slipway/worker.env /etc/slipway/worker.env.example /var/lib/slipway/state; do
	there "$path" "after the removal"
done

say "purging: state is left, also from an installation that was new again"
install_package 1.1.0
inside dpkg --purge slipway >/dev/null
gone /etc/slipway "after the purge"
gone /etc/systemd/system/multi-user.target.wants/slipway-worker.service "after the purge"
there /var/lib/slipway/state "after the purge"
is "the user's number" "$(inside id -u slipway)" "$uid"
say "the package installs, upgrades, goes and leaves what it should"
