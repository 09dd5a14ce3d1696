// SPDX-License-Identifier: GPL-2.0
/*
 * The LAPIC in the kernel: lapic_state.h with a lock, a clock and a timer around it, and the way of
 * messages from one to the others. Each operation runs the state machine under the LAPIC's lock,
 * starts the timer there if its time changed, and does everything else after the lock is released.
 */
#include "internal.h"

#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/minmax.h>

static u64 guest_tsc(struct kvml_vcpu *vcpu)
{
	return rdtsc() + READ_ONCE(vcpu->tsc_offset);
}

/* At least the true time, so that a timer does not fire early, and not more than some 17 years. */
static u64 ns_until(u64 now, u64 deadline)
{
	/* The quotient of what is left stays far below 2^64, as the processor's division needs it. */
	const u64 ticks = min_t(u64, deadline - now, (u64)tsc_khz << 39);

	return deadline <= now ? 0 : mul_u64_u32_div(ticks, NSEC_PER_MSEC, tsc_khz) + 1;
}

/*
 * Makes the hrtimer stand where the state machine wants it. The callback may run at the same time
 * and wait for the lock that is held here: it looks at the state again, so a late one does no harm.
 */
static void program_timer(struct kvml_vcpu *vcpu)
{
	struct kvml_lapic *lapic = &vcpu->lapic;
	const struct kvml_apic *apic = &lapic->apic;
	u64 expires = apic->deadline_ns;

	lockdep_assert_held(&lapic->lock);
	if (apic->tsc_deadline && (lapic->asleep || !kvml_has_preemption_timer()))
		expires = ktime_get_ns() + ns_until(guest_tsc(vcpu), apic->tsc_deadline);
	if (expires)
		hrtimer_start(&lapic->timer, ns_to_ktime(expires), HRTIMER_MODE_ABS_HARD);
	else
		hrtimer_try_to_cancel(&lapic->timer);
}

u32 kvml_lapic_timer_ticks(struct kvml_vcpu *vcpu)
{
	struct kvml_apic *apic = &vcpu->lapic.apic;
	/* The vCPU's own thread sets it; the host's timer, which clears it, is off. */
	const u64 deadline = READ_ONCE(apic->tsc_deadline);
	u64 now;

	if (likely(!deadline))
		return KVML_TIMER_IDLE;
	now = guest_tsc(vcpu);
	if (deadline > now)
		return min_t(u64, ((deadline - now) >> kvml_vmx.timer_shift) + 1, KVML_TIMER_IDLE);
	spin_lock(&vcpu->lapic.lock);
	kvml_apic_timer_expired(apic, now);
	spin_unlock(&vcpu->lapic.lock);
	return KVML_TIMER_IDLE;
}

static enum hrtimer_restart timer_fired(struct hrtimer *timer)
{
	struct kvml_vcpu *vcpu = container_of(timer, struct kvml_vcpu, lapic.timer);
	struct kvml_apic *apic = &vcpu->lapic.apic;
	unsigned long flags;
	bool fired;

	spin_lock_irqsave(&vcpu->lapic.lock, flags);
	fired = kvml_apic_timer_expired(apic, guest_tsc(vcpu));
	/* A period begins, or the two clocks disagree by a little and the TSC is not there yet. */
	if (apic->deadline_ns || apic->tsc_deadline)
		program_timer(vcpu);
	spin_unlock_irqrestore(&vcpu->lapic.lock, flags);
	if (fired)
		kvml_vcpu_kick(vcpu);
	return HRTIMER_NORESTART;
}

void kvml_lapic_create(struct kvml_vcpu *vcpu)
{
	struct kvml_lapic *lapic = &vcpu->lapic;

	spin_lock_init(&lapic->lock);
	lapic->eoi_vector = -1;
	kvml_apic_power_up(&lapic->apic, vcpu->id);
	hrtimer_init(&lapic->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	lapic->timer.function = timer_fired;
}

void kvml_lapic_destroy(struct kvml_vcpu *vcpu)
{
	struct kvml_lapic *lapic = &vcpu->lapic;

	/* Disarmed first: a periodic callback would start the timer again. */
	spin_lock_irq(&lapic->lock);
	lapic->apic.tsc_deadline = 0;
	lapic->apic.deadline_ns = 0;
	spin_unlock_irq(&lapic->lock);
	hrtimer_cancel(&lapic->timer);
}

/* ----- Messages ----- */

/* Gives @vcpu a @message that is meant for it; true if it was taken. */
static bool deliver(struct kvml_vcpu *vcpu, const struct kvml_apic_message *message)
{
	struct kvml_lapic *lapic = &vcpu->lapic;
	unsigned long flags;
	bool taken = true;

	/* A LAPIC that IA32_APIC_BASE turns off has only its pins left. */
	if (!kvml_apic_hardware_enabled(&lapic->apic))
		return false;
	switch (message->delivery) {
	case KVML_APIC_FIXED:
	case KVML_APIC_LOWEST_PRIORITY:
		spin_lock_irqsave(&lapic->lock, flags);
		taken = kvml_apic_accept(&lapic->apic, message->vector, message->level_triggered);
		spin_unlock_irqrestore(&lapic->lock, flags);
		break;
	case KVML_APIC_NMI:
		kvml_vcpu_queue_nmi(vcpu);
		break;
	case KVML_APIC_INIT:
		if (message->deasserted)
			return true;
		/* A SIPI from before the INIT is lost, as it would be in hardware. */
		clear_bit(KVML_EVENT_STARTUP, &lapic->events);
		set_bit(KVML_EVENT_INIT, &lapic->events);
		break;
	case KVML_APIC_STARTUP:
		WRITE_ONCE(lapic->startup_vector, message->vector);
		/* The vector before the bit that says there is one. */
		smp_wmb();
		set_bit(KVML_EVENT_STARTUP, &lapic->events);
		break;
	default:
		/* There is neither SMM nor a PIC in here. */
		return false;
	}
	/* Also if it is not taken: the error may interrupt. */
	kvml_vcpu_kick(vcpu);
	return taken;
}

int kvml_send_message(struct kvml_vm *vm, const struct kvml_apic_message *message,
		      struct kvml_vcpu *source)
{
	const struct kvml_apic *sender = source ? &source->lapic.apic : NULL;
	/* Pairs with the release in KVM_CREATE_VCPU: a counted vCPU is complete. */
	const u32 count = smp_load_acquire(&vm->vcpu_count);
	const bool to_one = message->lowest_priority || kvml_apic_names_one(message);
	/* vCPUs are mostly created in the order of their ids. */
	u32 next = message->destination;
	int taken = 0;
	u32 i;

	/* Interrupts of lowest priority go round the vCPUs that would take them. */
	if (message->lowest_priority && count)
		next = (u32)atomic_inc_return(&vm->interrupts.next_lowest) % count;
	for (i = 0; i < count && !(taken && to_one); i++) {
		struct kvml_vcpu *vcpu;

		if (next >= count)
			next = 0;
		vcpu = vm->vcpus[next++];
		if (kvml_apic_matches(&vcpu->lapic.apic, message, sender))
			taken += deliver(vcpu, message);
	}
	return taken;
}

/* ----- What a vCPU does to its own LAPIC ----- */

/* Begins an operation on a vCPU's own LAPIC, in process context. */
static struct kvml_apic *begin(struct kvml_vcpu *vcpu)
	__acquires(vcpu->lapic.lock)
{
	lockdep_assert_irqs_enabled();
	spin_lock_irq(&vcpu->lapic.lock);
	vcpu->lapic.apic.effects = 0;
	return &vcpu->lapic.apic;
}

/* Ends it: unlocks, and does what the operation asked for. */
static void finish(struct kvml_vcpu *vcpu)
	__releases(vcpu->lapic.lock)
{
	const struct kvml_apic *apic = &vcpu->lapic.apic;

	if (apic->effects & KVML_APIC_EFFECT_TIMER)
		program_timer(vcpu);
	spin_unlock_irq(&vcpu->lapic.lock);
	if (apic->effects & KVML_APIC_EFFECT_SEND)
		kvml_send_message(vcpu->vm, &apic->message, vcpu);
	if ((apic->effects & KVML_APIC_EFFECT_EOI) && kvml_ioapic_owns(vcpu->vm, apic->eoi_vector))
		vcpu->lapic.eoi_vector = apic->eoi_vector;
}

void kvml_lapic_set_asleep(struct kvml_vcpu *vcpu, bool asleep)
{
	struct kvml_apic *apic = begin(vcpu);

	vcpu->lapic.asleep = asleep;
	if (apic->tsc_deadline)
		apic->effects = KVML_APIC_EFFECT_TIMER;
	finish(vcpu);
}

int kvml_lapic_pending_vector(struct kvml_vcpu *vcpu)
{
	const struct kvml_apic *apic = &vcpu->lapic.apic;

	/* Whoever sets it kicks the vCPU afterwards, so a stale false is soon looked at again. */
	return READ_ONCE(apic->irr_any) ? kvml_apic_pending(apic) : -1;
}

/* With interrupts off, just before the guest is entered. */
int kvml_lapic_take_vector(struct kvml_vcpu *vcpu)
{
	const int vector = kvml_lapic_pending_vector(vcpu);

	if (vector >= 0) {
		spin_lock(&vcpu->lapic.lock);
		kvml_apic_acknowledge(&vcpu->lapic.apic, vector);
		spin_unlock(&vcpu->lapic.lock);
	}
	return vector;
}

bool kvml_lapic_has_events(struct kvml_vcpu *vcpu)
{
	return READ_ONCE(vcpu->lapic.events);
}

/* SDM, "MP Initialization Protocol": INIT resets, and a SIPI wakes who waits for one. */
void kvml_lapic_accept_events(struct kvml_vcpu *vcpu)
{
	struct kvml_lapic *lapic = &vcpu->lapic;

	if (test_and_clear_bit(KVML_EVENT_INIT, &lapic->events)) {
		kvml_apic_reset(begin(vcpu));
		finish(vcpu);
		kvml_vcpu_init(vcpu);
		WRITE_ONCE(vcpu->mp_state, vcpu->id == 0 ? KVM_MP_STATE_RUNNABLE :
			   KVM_MP_STATE_INIT_RECEIVED);
	}
	if (!test_and_clear_bit(KVML_EVENT_STARTUP, &lapic->events))
		return;
	/* Pairs with deliver(). */
	smp_rmb();
	if (vcpu->mp_state != KVM_MP_STATE_INIT_RECEIVED)
		return;
	kvml_vcpu_startup(vcpu, READ_ONCE(lapic->startup_vector));
	WRITE_ONCE(vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
}

int kvml_lapic_take_eoi(struct kvml_vcpu *vcpu)
{
	const int vector = vcpu->lapic.eoi_vector;

	vcpu->lapic.eoi_vector = -1;
	return vector;
}

bool kvml_lapic_mmio(struct kvml_vcpu *vcpu, u64 gpa, bool write, u32 length, u64 *value)
{
	struct kvml_apic *apic = &vcpu->lapic.apic;
	/* Only this thread changes the base. */
	const u64 offset = gpa - (apic->base & PAGE_MASK);

	if (!kvml_apic_hardware_enabled(apic) || kvml_apic_is_x2apic(apic) ||
	    offset >= KVML_APIC_PAGE_SIZE)
		return false;
	begin(vcpu);
	if (write)
		kvml_apic_page_write(apic, offset, length, *value);
	else
		*value = kvml_apic_page_read(apic, offset, length);
	finish(vcpu);
	return true;
}

int kvml_lapic_read_msr(struct kvml_vcpu *vcpu, u32 msr, u64 *value)
{
	const int outcome = kvml_apic_msr_read(begin(vcpu), msr, value);

	finish(vcpu);
	return outcome;
}

int kvml_lapic_write_msr(struct kvml_vcpu *vcpu, u32 msr, u64 value)
{
	const int outcome = kvml_apic_msr_write(begin(vcpu), msr, value);

	finish(vcpu);
	return outcome;
}

u64 kvml_lapic_base(struct kvml_vcpu *vcpu)
{
	return READ_ONCE(vcpu->lapic.apic.base);
}

int kvml_lapic_set_base(struct kvml_vcpu *vcpu, u64 value, bool host)
{
	const bool x2apic = kvml_cpuid_has_x2apic(vcpu);
	struct kvml_apic *apic = begin(vcpu);
	const int outcome = host ? kvml_apic_restore_base(apic, value, vcpu->physical_bits) :
		kvml_apic_write_base(apic, value, vcpu->physical_bits, x2apic);

	finish(vcpu);
	return outcome;
}

u64 kvml_lapic_tsc_deadline(struct kvml_vcpu *vcpu)
{
	return READ_ONCE(vcpu->lapic.apic.tsc_deadline);
}

void kvml_lapic_set_tsc_deadline(struct kvml_vcpu *vcpu, u64 deadline)
{
	struct kvml_apic *apic = begin(vcpu);

	kvml_apic_write_tsc_deadline(apic, deadline);
	/* A deadline that has passed fires here, without the detour through the host's timer. */
	kvml_apic_timer_expired(apic, guest_tsc(vcpu));
	finish(vcpu);
}

void kvml_lapic_tsc_changed(struct kvml_vcpu *vcpu)
{
	begin(vcpu)->effects = KVML_APIC_EFFECT_TIMER;
	finish(vcpu);
}

/* CR8 is TPR[7:4]. Nobody but the vCPU's thread looks at it. */
u64 kvml_lapic_cr8(struct kvml_vcpu *vcpu)
{
	return vcpu->lapic.apic.regs[KVML_APIC_TPR] >> 4;
}

void kvml_lapic_set_cr8(struct kvml_vcpu *vcpu, u64 cr8)
{
	vcpu->lapic.apic.regs[KVML_APIC_TPR] = (cr8 & 0xf) << 4;
}

void kvml_lapic_get_state(struct kvml_vcpu *vcpu, struct kvm_lapic_state *state)
{
	kvml_apic_save(begin(vcpu), state);
	finish(vcpu);
}

int kvml_lapic_set_state(struct kvml_vcpu *vcpu, const struct kvm_lapic_state *state)
{
	const int outcome = kvml_apic_restore(begin(vcpu), state);

	finish(vcpu);
	return outcome;
}
