#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# image-build.sh - build a bootable Debian image: caisson image build.
#
# STORE NAME/{disk.raw,kernel,initrd,append}.  mmdebstrap fills a root from the
# mirrors this host's apt knows (as root, or in a user namespace); a hook inside it
# turns the root into an ext4 file system, so nothing is ever mounted.  All is made in
# a hidden folder, renamed at the end: a failure leaves nothing behind.
set -eu

die() { echo "caisson: error: $*" >&2; exit 1; }
usage() { echo "caisson: error: $*; see 'caisson image --help'" >&2; exit 2; }

store=$1
shift
name=debian kernel=linux-image-cloud-amd64 size=8G include= force=
while [ $# -gt 0 ]; do
	case $1 in
	--kernel-package) kernel=${2:?}; shift ;;
	--size) size=${2:?}; shift ;;
	--include) include=,${2:?}; shift ;;
	--force) force=1 ;;
	-*) usage "image build: $1 is unknown" ;;
	*) name=$1 ;;
	esac
	shift
done
case $name in
'' | .* | *[!a-zA-Z0-9._-]*) usage "image '$name': a name has letters, digits, '.', '_' and '-'" ;;
esac
case $size in
*[0-9][MG]) ;;
*) usage "--size $size: write it like 8G" ;;
esac

dir=$store/$name
if [ -e "$dir/disk.raw" ] && [ -z "$force" ]; then
	echo "caisson: image '$name' is there already: $dir (--force builds it anew)" >&2
	exit 0
fi
for tool in mmdebstrap mke2fs; do
	command -v "$tool" >/dev/null || die "image build needs $tool; install the package" \
		"$([ "$tool" = mke2fs ] && echo e2fsprogs || echo mmdebstrap)"
done

tmp=$(mktemp -d "$store/.build-XXXXXX") || die "image folder $store: cannot be written"
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$tmp"

# The Debian mirrors of this host, else Debian's own.
release=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' \
	'Created-By: Packages' 2>/dev/null |
	awk -F'|' -v rel="$release" '
		$1 == "Debian" && index($3, rel) == 1 && $3 !~ /backports/ { c[$2 " " $3] = c[$2 " " $3] " " $4 }
		END { for (k in c) print "deb [signed-by=KEYRING] " k c[k] }' |
	sed "s|KEYRING|$keyring|" | sort -u >"$tmp/sources.list"
if [ ! -s "$tmp/sources.list" ]; then
	for s in "http://deb.debian.org/debian $release" \
		"http://deb.debian.org/debian $release-updates" \
		"http://deb.debian.org/debian-security $release-security"; do
		echo "deb [signed-by=$keyring] $s main"
	done >"$tmp/sources.list"
fi
[ -e "$keyring" ] || die "image build needs $keyring; install the package debian-archive-keyring"

# How this host reaches them.  A proxy on its loopback is 10.0.2.2 for the guest.
apt-config dump 2>/dev/null |
	grep -E '^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date|Languages)' >"$tmp/apt.conf" || :
sed -E 's#//(127\.0\.0\.1|localhost)\b#//10.0.2.2#' "$tmp/apt.conf" >"$tmp/apt-guest.conf"

cat >"$tmp/setup.sh" <<'SETUP'
set -eu
root=$1 tmp=$2 size=$3 name=$4
echo "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$name" >"$root/etc/hosts"
echo '/dev/vda / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
cat >"$root/etc/systemd/network/80-dhcp.network" <<-'NET'
	[Match]
	Type=ether
	[Network]
	DHCP=yes
NET
chroot "$root" passwd -q -d root
chroot "$root" systemctl -q enable systemd-networkd systemd-resolved
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
cp "$tmp/sources.list" "$root/etc/apt/sources.list"
rm -f "$root"/etc/apt/sources.list.d/*
cp "$tmp/apt-guest.conf" "$root/etc/apt/apt.conf.d/90host"
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
: >"$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
	"$root"/var/log/*.log "$root"/var/log/apt "$root"/tmp/*
mkdir -p "$root/var/lib/apt/lists/partial"
cp "$root"/boot/vmlinuz-* "$tmp/kernel"
cp "$root"/boot/initrd.img-* "$tmp/initrd"
truncate -s "$size" "$tmp/disk.raw"
# Another view of the root, without the /proc, /sys and /dev that are mounted on it.
mkdir "$tmp/root"
mount --bind "$root" "$tmp/root"
mke2fs -q -t ext4 -L root -E lazy_itable_init=1,lazy_journal_init=1,nodiscard \
	-d "$tmp/root" "$tmp/disk.raw" && status=0 || status=$?
umount "$tmp/root"
rmdir "$tmp/root"
exit $status
SETUP

echo "caisson: building image '$name' ($kernel, $size) from" >&2
sed -E 's/^deb \[[^]]*\] /  /' "$tmp/sources.list" >&2
if ! mmdebstrap --variant=minbase --format=null --aptopt="$tmp/apt.conf" \
	--aptopt='APT::Install-Recommends "false"' \
	--include="systemd-sysv,systemd-resolved,libpam-systemd,dbus,udev,kmod,zstd,initramfs-tools,$kernel,iproute2,iputils-ping,ca-certificates,login,passwd,e2fsprogs,less,procps$include" \
	--customize-hook="sh $tmp/setup.sh \"\$1\" $tmp $size $name" \
	"$release" /dev/null - <"$tmp/sources.list" >"$tmp/log" 2>&1; then
	tail -n 25 "$tmp/log" >&2
	if grep -q 'No space left\|Could not allocate' "$tmp/log"; then
		die "image '$name': the disk of $store is full; free some space or set CAISSON_HOME"
	fi
	die "image '$name': mmdebstrap failed (its last lines are above)"
fi

echo "root=/dev/vda rw console=ttyS0" >"$tmp/append"
rm -f "$tmp/setup.sh" "$tmp/sources.list" "$tmp/apt.conf" "$tmp/apt-guest.conf" "$tmp/log"
rm -rf "$dir"
mv "$tmp" "$dir"
trap - EXIT
echo "caisson: image '$name' is ready: $dir" >&2
