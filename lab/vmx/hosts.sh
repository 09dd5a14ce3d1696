# Functions of the jobs of lab/vmx. Sourced in the emulated host.
# shellcheck shell=dash

# on_kvm_intel COMMAND: kvm-lite makes room for Debian's own KVM, and comes back.
on_kvm_intel() {
  rmmod kvm_lite && insmod /modules/irqbypass.ko && insmod /modules/kvm.ko && insmod /modules/kvm-intel.ko || return 1
  outcome=0
  eval "$1" || outcome=$?
  rmmod kvm_intel && rmmod kvm && rmmod irqbypass && insmod /modules/kvm-lite.ko || return 1
  return $outcome
}
