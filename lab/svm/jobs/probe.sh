# Shows that the emulated host offers what the other jobs need.
# Needs: kernel:6.1
set -e
uname -r
[ -c /dev/kvm ]
[ -c /dev/net/tun ]
grep -o -m1 -w svm /proc/cpuinfo
