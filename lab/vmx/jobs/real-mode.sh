# The first stage: real mode, port I/O, HLT; the module comes and goes.
# Needs: abi
# shellcheck shell=dash
if kvm-real-mode /dev/kvm-lite; then echo "ok kvm-lite-real-mode"; else echo "not ok kvm-lite-real-mode: see above"; exit 1; fi
rmmod kvm_lite && insmod /modules/kvm-lite.ko || { echo "not ok kvm-lite-reload: the module does not come back"; exit 1; }
echo "ok kvm-lite-reload"
