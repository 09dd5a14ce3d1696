/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupts of a VM, as the rest of the module sees them: one struct kvml_lapic in each vCPU, one
 * struct kvml_interrupts and one struct kvml_clock in each VM, and what can be done with them.
 *
 * vm->lock guards irqfds, ioeventfds and the clock. Further locks, in order: an eventfd's own wait
 * queue lock, then one kvml_lapic.lock (both spin, interrupts off). Two LAPICs are never locked at
 * once. Nobody calls kvml_vcpu_kick() with a LAPIC locked. Readers of routes and ioeventfds hold
 * RCU. Without its lock a LAPIC is asked whether a message is meant for it, and by its own vCPU's
 * thread what comes next.
 */
#ifndef KVML_INTERRUPTS_H
#define KVML_INTERRUPTS_H

#include <linux/hashtable.h>
#include <linux/hrtimer.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <asm/pvclock-abi.h>

#include "irq_routing.h"
#include "lapic_state.h"

struct kvml_vm;
struct kvml_vcpu;

/* Bits of kvml_lapic.events, for kvml_lapic_accept_events(). */
enum kvml_lapic_event {
	KVML_EVENT_INIT,
	KVML_EVENT_STARTUP,
};

struct kvml_lapic {
	spinlock_t lock;		/* guards apic; see "Locks" above */
	struct kvml_apic apic;
	struct hrtimer timer;
	bool asleep;			/* the vCPU's thread waits for work */
	unsigned long events;		/* atomic bits */
	u8 startup_vector;		/* valid with KVML_EVENT_STARTUP */
	int eoi_vector;			/* for user space's IOAPIC, or -1; the vCPU's thread only */
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
	u32 generation;			/* changes whenever the reference does */
};

struct kvml_vcpu_clock {
	u64 system_time_msr;		/* MSR_KVM_SYSTEM_TIME_NEW: address and enable bit */
	u32 generation;			/* of the reference that the guest's page shows, or 0 */
	bool paused;			/* user space stopped the VM (KVM_KVMCLOCK_CTRL) */
};

/* ----- lapic.c: process context, the vCPU's thread, unless said otherwise ----- */

void kvml_lapic_create(struct kvml_vcpu *vcpu);
/* After the vCPU can be found no more. Waits for the timer. */
void kvml_lapic_destroy(struct kvml_vcpu *vcpu);

/* The vector to inject now, or -1; interrupts may be off. Cheap if nothing waits. */
int kvml_lapic_pending_vector(struct kvml_vcpu *vcpu);
/* As above, and the processor takes it; interrupts are off. */
int kvml_lapic_take_vector(struct kvml_vcpu *vcpu);
/* An INIT or SIPI waits: kvml_lapic_accept_events() has work. */
bool kvml_lapic_has_events(struct kvml_vcpu *vcpu);
void kvml_lapic_accept_events(struct kvml_vcpu *vcpu);
/* The vector for KVM_EXIT_IOAPIC_EOI, once, or -1. */
int kvml_lapic_take_eoi(struct kvml_vcpu *vcpu);

/* Is @gpa in this vCPU's xAPIC page? Then the access is done and true comes back. */
bool kvml_lapic_mmio(struct kvml_vcpu *vcpu, u64 gpa, bool write, u32 length, u64 *value);
/* 0, or -EINVAL: the guest gets #GP. MSRs 0x800 to 0x8ff. */
int kvml_lapic_read_msr(struct kvml_vcpu *vcpu, u32 msr, u64 *value);
int kvml_lapic_write_msr(struct kvml_vcpu *vcpu, u32 msr, u64 value);
u64 kvml_lapic_base(struct kvml_vcpu *vcpu);
/* @host: user space sets it, and may set any mode. 0 or -EINVAL. */
int kvml_lapic_set_base(struct kvml_vcpu *vcpu, u64 value, bool host);
u64 kvml_lapic_tsc_deadline(struct kvml_vcpu *vcpu);
/*
 * Before an entry, interrupts off: fires a deadline that has passed. Ticks of the preemption timer
 * until the next one, KVML_TIMER_IDLE if there is none.
 */
u32 kvml_lapic_timer_ticks(struct kvml_vcpu *vcpu);
#define KVML_TIMER_IDLE		(~0u)
/* The vCPU's thread is about to wait, or done: meanwhile the host's timer minds a TSC deadline. */
void kvml_lapic_set_asleep(struct kvml_vcpu *vcpu, bool asleep);
void kvml_lapic_set_tsc_deadline(struct kvml_vcpu *vcpu, u64 deadline);
u64 kvml_lapic_cr8(struct kvml_vcpu *vcpu);
void kvml_lapic_set_cr8(struct kvml_vcpu *vcpu, u64 cr8);
void kvml_lapic_get_state(struct kvml_vcpu *vcpu, struct kvm_lapic_state *state);
int kvml_lapic_set_state(struct kvml_vcpu *vcpu, const struct kvm_lapic_state *state);
/* The TSC offset changed: a TSC deadline now lies elsewhere in time. */
void kvml_lapic_tsc_changed(struct kvml_vcpu *vcpu);

/* Sends; any context. How many vCPUs took the message. */
int kvml_send_message(struct kvml_vm *vm, const struct kvml_apic_message *message,
		      struct kvml_vcpu *source);

/* ----- gsi.c: process context unless said otherwise ----- */

/* KVM_SET_GSI_ROUTING; @argument is struct kvm_irq_routing. */
int kvml_set_gsi_routing(struct kvml_vm *vm, void __user *argument);
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
/* @msr is one of kvmclock's, old or new. 0. */
int kvml_clock_read_msr(struct kvml_vcpu *vcpu, u32 msr, u64 *value);
int kvml_clock_write_msr(struct kvml_vcpu *vcpu, u32 msr, u64 value);
/* Before each entry, where the thread may sleep: brings the guest's page up to date. */
void kvml_clock_update(struct kvml_vcpu *vcpu);
/* The TSC offset changed: the guest's page has to follow. */
void kvml_clock_tsc_changed(struct kvml_vcpu *vcpu);
/* KVM_GET_CLOCK and KVM_SET_CLOCK; vm->lock held. */
void kvml_clock_get(struct kvml_vm *vm, struct kvm_clock_data *data);
int kvml_clock_set(struct kvml_vm *vm, const struct kvm_clock_data *data);
/* KVM_KVMCLOCK_CTRL */
int kvml_clock_pause(struct kvml_vcpu *vcpu);

#endif /* KVML_INTERRUPTS_H */
