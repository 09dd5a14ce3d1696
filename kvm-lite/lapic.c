// SPDX-License-Identifier: GPL-2.0
/*
 * The LAPIC in the kernel: lapic_state.h with a clock and a timer around it, and the way of messages
 * from one to the others. Everything but sending belongs to the vCPU's thread: the host's timer only
 * tells it to look at the time.
 */
#include "internal.h"

#include <linux/math64.h>
#include <linux/nospec.h>

static u64 guest_tsc(struct kvml_vcpu *vcpu)
{
	return kvml_tsc() + vcpu->tsc_offset;
}

/* At least the true time, so that a timer does not fire early, and not more than some 17 years. */
static u64 ns_until(u64 now, u64 deadline)
{
	/* The quotient of what is left stays far below 2^64, as the processor's division needs it. */
	const u64 ticks = min_t(u64, deadline - now, (u64)tsc_khz << 39);

	return deadline <= now ? 0 : mul_u64_u32_div(ticks, NSEC_PER_MSEC, tsc_khz) + 1;
}

/*
 * Makes the host's timer stand where the LAPIC wants it. One that is left over, or fires meanwhile,
 * does no harm: the time is looked at again.
 */
void kvml_apic_timer_changed(struct kvml_apic *apic)
{
	struct kvml_vcpu *vcpu = container_of(apic, struct kvml_vcpu, lapic.apic);
	struct hrtimer *timer = &vcpu->lapic.timer;
	u64 expires = apic->deadline_ns;

	/* While the guest runs, the preemption timer minds its TSC deadline. */
	if (apic->tsc_deadline &&
	    (vcpu->mp_state != KVM_MP_STATE_RUNNABLE || !kvml_has_preemption_timer()))
		expires = ktime_get_ns() + ns_until(guest_tsc(vcpu), apic->tsc_deadline);
	if (expires)
		hrtimer_start(timer, ns_to_ktime(expires), HRTIMER_MODE_ABS_HARD);
	else
		hrtimer_try_to_cancel(timer);
}

void kvml_lapic_expire(struct kvml_vcpu *vcpu)
{
	struct kvml_apic *apic = &vcpu->lapic.apic;

	kvml_apic_expire(apic, guest_tsc(vcpu));
	/* A period begins, or the two clocks disagree by a little and the TSC is not there yet. */
	kvml_apic_timer_changed(apic);
}

u32 kvml_lapic_timer_ticks(struct kvml_vcpu *vcpu)
{
	struct kvml_apic *apic = &vcpu->lapic.apic;
	u64 now;

	if (likely(!apic->tsc_deadline))
		return KVML_TIMER_IDLE;
	now = guest_tsc(vcpu);
	if (apic->tsc_deadline > now)
		return min_t(u64, ((apic->tsc_deadline - now) >> kvml_vmx.timer_shift) + 1,
			     KVML_TIMER_IDLE);
	kvml_apic_expire(apic, now);
	return KVML_TIMER_IDLE;
}

static enum hrtimer_restart timer_fired(struct hrtimer *timer)
{
	struct kvml_vcpu *vcpu = container_of(timer, struct kvml_vcpu, lapic.timer);

	set_bit(KVML_REQUEST_TIMER, &vcpu->requests);
	kvml_vcpu_kick(vcpu);
	return HRTIMER_NORESTART;
}

void kvml_lapic_create(struct kvml_vcpu *vcpu)
{
	struct kvml_lapic *lapic = &vcpu->lapic;

	hrtimer_init(&lapic->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	lapic->timer.function = timer_fired;
	kvml_apic_power_up(&lapic->apic, vcpu->id);
}

/* ----- Messages ----- */

/* Gives @vcpu a @message that is meant for it; true if it was taken. */
static bool deliver(struct kvml_vcpu *vcpu, const struct kvml_apic_message *message)
{
	struct kvml_lapic *lapic = &vcpu->lapic;
	bool taken = true;

	switch (message->delivery) {
	case KVML_APIC_FIXED:
	case KVML_APIC_LOWEST_PRIORITY:
		taken = kvml_apic_accept(&lapic->apic, message->vector, message->level_triggered);
		break;
	case KVML_APIC_NMI:
		set_bit(KVML_REQUEST_NMI, &vcpu->requests);
		break;
	case KVML_APIC_INIT:
		if (message->deasserted)
			return true;
		/* A SIPI from before the INIT is lost, as it would be in hardware. */
		clear_bit(KVML_REQUEST_STARTUP, &vcpu->requests);
		set_bit(KVML_REQUEST_INIT, &vcpu->requests);
		break;
	case KVML_APIC_STARTUP:
		WRITE_ONCE(lapic->startup_vector, message->vector);
		/* The vector before the bit that says there is one. */
		smp_wmb();
		set_bit(KVML_REQUEST_STARTUP, &vcpu->requests);
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

	if (message->shorthand == KVML_APIC_SELF)
		return deliver(source, message);
	/* Interrupts of lowest priority go round the vCPUs that would take them. */
	if (message->lowest_priority && count)
		next = (u32)atomic_inc_return(&vm->interrupts.next_lowest) % count;
	for (i = 0; i < count && !(taken && to_one); i++) {
		struct kvml_vcpu *vcpu;

		if (next >= count)
			next = 0;
		vcpu = vm->vcpus[array_index_nospec(next++, count)];
		if (kvml_apic_matches(&vcpu->lapic.apic, message, sender))
			taken += deliver(vcpu, message);
	}
	return taken;
}

void kvml_apic_send(struct kvml_apic *apic, const struct kvml_apic_message *message)
{
	struct kvml_vcpu *vcpu = container_of(apic, struct kvml_vcpu, lapic.apic);

	kvml_send_message(vcpu->vm, message, vcpu);
}

bool kvml_lapic_mmio(struct kvml_vcpu *vcpu, u64 gpa, bool write, u32 length, u64 *value)
{
	struct kvml_apic *apic = &vcpu->lapic.apic;
	const u64 offset = gpa - (apic->base & PAGE_MASK);

	if (!kvml_apic_hardware_enabled(apic) || kvml_apic_is_x2apic(apic) ||
	    offset >= KVML_APIC_PAGE_SIZE)
		return false;
	if (write)
		kvml_apic_page_write(apic, offset, length, *value);
	else
		*value = kvml_apic_page_read(apic, offset, length);
	return true;
}
