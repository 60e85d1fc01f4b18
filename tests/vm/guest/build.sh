#!/bin/sh
# Fetch a Debian kernel and build what a guest boots from, in the current folder:
#   boot/vmlinuz-VERSION, lib/modules/VERSION and initramfs, which has busybox, a few modules and /init.
# Usage: build.sh VERSION INIT
set -eu
version=$1
init=$2

apt-get download -qq -o APT::Sandbox::User=root "linux-image-$version" busybox-static
for package in *.deb; do
    dpkg-deb --extract "$package" .
    rm "$package"
done
[ -e lib ] || ln -s usr/lib lib # as on systems where / and /usr are merged

# Of the drivers, tests of networks need block, char, net and virtio at most: three quarters less to store.
(cd "lib/modules/$version/kernel" && rm -rf sound drivers/[!bcnv]* drivers/net/ethernet drivers/net/wireless)
depmod -b . "$version"

mkdir -p root/modules
mv "$(find . -path '*/bin/busybox')" root/busybox

# What it takes to reach the files of the machine outside; numbered, since they stand on each other in this order.
number=10
modprobe -d . -S "$version" --show-depends -a virtio_pci virtio_rng virtio_console 9p 9pnet_virtio overlay > wanted
awk '$1 == "insmod" && !seen[$2]++ { print $2 }' wanted | while read -r module; do
    number=$((number + 1))
    case $module in
        *.xz) root/busybox xz -dc "$module" > "root/modules/$number" ;;
        *) cp "$module" "root/modules/$number" ;;
    esac
done

cp "$init" root/init
chmod +x root/init
(cd root && find . | ./busybox cpio -o -H newc > ../initramfs)
rm -rf root wanted
