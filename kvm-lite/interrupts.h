/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts of a VM, as the rest of the module sees them: one struct kvml_lapic in each vCPU, one
 * struct kvml_interrupts and one struct kvml_clock in each VM, and what can be done with them.
 *
 * vm->lock guards irqfds, ioeventfds and the clock. Readers of routes and ioeventfds hold RCU. An
 * eventfd calls with its own wait queue locked (spin, interrupts off). LAPICs have no lock: see
 * lapic_state.h. Who sends, and the host's timer, first changes the LAPIC or the vCPU's requests,
 * then kicks the vCPU, whose thread does all the rest.
 */
#ifndef KVML_INTERRUPTS_H
#define KVML_INTERRUPTS_H

#include <linux/hashtable.h>
#include <linux/hrtimer.h>
#include <linux/kvm.h>
#include <asm/pvclock-abi.h>

#include "irq_routing.h"
#include "lapic_state.h"

struct kvml_vm;
struct kvml_vcpu;

struct kvml_lapic {
	struct kvml_apic apic;
	struct hrtimer timer;
	u8 startup_vector;		/* of the last SIPI; any thread */
};

/* Published by RCU, and never changed. */
struct kvml_routes {
	struct rcu_head rcu;
	u32 count;
	struct kvml_apic_message messages[];	/* by GSI; NOWHERE without a route */
};

struct kvml_interrupts {
	struct kvml_routes __rcu *routes;
	u32 ioapic_pins;		/* GSIs below are user space's IOAPIC (split irqchip) */
	atomic_t next_lowest;		/* where to look first for the receiver of lowest priority */
	struct list_head irqfds;
	u32 ioeventfd_count;
	DECLARE_HASHTABLE(ioeventfds, 5);
};

/*
 * kvmclock. All vCPUs of a VM use one pair of TSC and time, taken when the VM is created or the
 * clock is set, so that their clocks agree to the nanosecond.
 */
struct kvml_clock {
	struct pvclock_vcpu_time_info reference;	/* of a guest whose TSC is the host's */
	atomic_t generation;		/* changes after the reference or a vCPU's TSC does */
};

struct kvml_vcpu_clock {
	u64 system_time_msr;		/* MSR_KVM_SYSTEM_TIME_NEW: address and enable bit */
	int generation;			/* of what the guest's page shows; 0: of nothing */
	bool paused;			/* user space stopped the VM (KVM_KVMCLOCK_CTRL) */
};

/* ----- lapic.c: process context, the vCPU's thread, unless said otherwise ----- */

void kvml_lapic_create(struct kvml_vcpu *vcpu);

/* Fires the LAPIC's timer if its time has come, whether or not the host's timer has said so yet. */
void kvml_lapic_expire(struct kvml_vcpu *vcpu);
/* Is @gpa in this vCPU's xAPIC page? Then the access is done and true comes back. */
bool kvml_lapic_mmio(struct kvml_vcpu *vcpu, u64 gpa, bool write, u32 length, u64 *value);
/*
 * Before an entry, interrupts off: fires a deadline that has passed. Ticks of the preemption timer
 * until the next one, KVML_TIMER_IDLE if there is none.
 */
u32 kvml_lapic_timer_ticks(struct kvml_vcpu *vcpu);
#define KVML_TIMER_IDLE		(~0u)

/* Sends; any context. How many vCPUs took the message. */
int kvml_send_message(struct kvml_vm *vm, const struct kvml_apic_message *message,
		      struct kvml_vcpu *source);

/* ----- gsi.c: process context unless said otherwise ----- */

/* KVM_SET_GSI_ROUTING */
int kvml_set_gsi_routing(struct kvml_vm *vm, struct kvm_irq_routing __user *user);
/* KVM_SIGNAL_MSI: receivers, or a negative errno. */
int kvml_signal_msi(struct kvml_vm *vm, const struct kvm_msi *msi);
/* Signals the route of @gsi; any context. How many vCPUs took it; 0 also if there is no route. */
int kvml_signal_gsi(struct kvml_vm *vm, u32 gsi);
/* Does user space's IOAPIC wait for the end of @vector? */
bool kvml_ioapic_owns(struct kvml_vm *vm, u8 vector);

/* ----- eventfd.c ----- */

/* KVM_IRQFD and KVM_IOEVENTFD; vm->lock held. */
int kvml_irqfd(struct kvml_vm *vm, const struct kvm_irqfd *args);
int kvml_ioeventfd(struct kvml_vm *vm, const struct kvm_ioeventfd *args);
/* The VM goes, and its vCPUs go next: no irqfd injects afterwards. */
void kvml_eventfds_release(struct kvml_vm *vm);

/* A guest's write, @flags: KVM_IOEVENTFD_FLAG_PIO or 0. True if an ioeventfd took it. */
bool kvml_ioeventfd_write(struct kvml_vm *vm, u32 flags, u64 address, u32 length, u64 value);

/* ----- pvclock.c ----- */

void kvml_clock_create(struct kvml_vm *vm);
/* MSR_KVM_WALL_CLOCK: @gpa is where the guest wants to find when it booted, or 0. */
void kvml_clock_write_wall(struct kvml_vm *vm, u64 gpa);
/* Before each entry, where the thread may sleep: brings the guest's page up to date. */
void kvml_clock_update(struct kvml_vcpu *vcpu);
/* KVM_GET_CLOCK and KVM_SET_CLOCK; vm->lock held. */
void kvml_clock_get(struct kvml_vm *vm, struct kvm_clock_data *data);
int kvml_clock_set(struct kvml_vm *vm, const struct kvm_clock_data *data);
/* KVM_KVMCLOCK_CTRL */
int kvml_clock_pause(struct kvml_vcpu *vcpu);

#endif /* KVML_INTERRUPTS_H */
