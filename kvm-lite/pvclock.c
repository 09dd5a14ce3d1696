// SPDX-License-Identifier: GPL-2.0
/*
 * kvmclock (Linux Documentation/virt/kvm/x86/msr.rst): a page in which the guest finds how its TSC
 * relates to nanoseconds since boot, and the wall time of that boot. The VM's time is
 * the host's TSC itself, counted from a reference, so the module loads only where the TSC is
 * constant. Steal time is not offered.
 */
#include "internal.h"

#include <asm/pvclock.h>
#include <linux/clocksource.h>
#include <linux/timekeeping.h>

#define CLOCK_FLAGS	(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)

/* vm->lock held, or nobody else knows the VM yet. */
static void set_time(struct kvml_clock *clock, u64 guest_ns)
{
	clock->reference.tsc_timestamp = kvml_tsc();
	clock->reference.system_time = guest_ns;
	atomic_inc_return(&clock->generation);
}

void kvml_clock_create(struct kvml_vm *vm)
{
	u32 multiplier, shift;

	/* To multiply and shift right; the guest shifts to the left, and then right by 32. */
	clocks_calc_mult_shift(&multiplier, &shift, tsc_khz, NSEC_PER_MSEC, 0);
	vm->clock.reference.tsc_to_system_mul = multiplier;
	vm->clock.reference.tsc_shift = 32 - shift;
	set_time(&vm->clock, 0);
}

/*
 * Writes @size bytes of a structure that begins with a version; an odd version says that what
 * follows is being written. Memory that is not there is the guest's own problem.
 */
static void write_versioned(struct kvml_vm *vm, u64 gpa, void *data, u32 size)
{
	u32 *const version = data;

	if (kvml_read_guest(vm, gpa, version, sizeof(*version)))
		return;
	*version = (*version | 1) + 2;
	if (kvml_write_guest(vm, gpa, version, sizeof(*version)))
		return;
	/* The odd version, the data and the even one become visible in this order. */
	smp_wmb();
	if (kvml_write_guest(vm, gpa + sizeof(*version), version + 1, size - sizeof(*version)))
		return;
	/* As above: data, then the even version. */
	smp_wmb();
	*version += 1;
	kvml_write_guest(vm, gpa, version, sizeof(*version));
}

void kvml_clock_write_wall(struct kvml_vm *vm, u64 gpa)
{
	struct pvclock_wall_clock wall = {};
	struct timespec64 boot;

	WRITE_ONCE(vm->wall_clock_msr, gpa);
	if (!gpa)
		return;
	mutex_lock(&vm->lock);
	boot = ns_to_timespec64(ktime_get_real_ns() -
				__pvclock_read_cycles(&vm->clock.reference, kvml_tsc()));
	mutex_unlock(&vm->lock);
	wall.sec = boot.tv_sec;
	wall.nsec = boot.tv_nsec;
	write_versioned(vm, gpa, &wall, sizeof(wall));
}

void kvml_clock_update(struct kvml_vcpu *vcpu)
{
	struct kvml_clock *clock = &vcpu->vm->clock;
	struct pvclock_vcpu_time_info info;
	u8 flags = PVCLOCK_TSC_STABLE_BIT;
	u32 i;

	if (likely(vcpu->clock.generation == atomic_read(&clock->generation)))
		return;
	mutex_lock(&vcpu->vm->lock);
	/* Pairs with the barriers of who changes it: what it stands for is not older. */
	vcpu->clock.generation = atomic_read_acquire(&clock->generation);
	info = clock->reference;
	/* With this bit the guest reads any vCPU's page by any other's TSC. */
	for (i = 0; i < vcpu->vm->vcpu_count; i++) {
		if (READ_ONCE(vcpu->vm->vcpus[i]->tsc_offset) != vcpu->tsc_offset)
			flags = 0;
	}
	mutex_unlock(&vcpu->vm->lock);
	if (!(vcpu->clock.system_time_msr & 1))
		return;
	info.tsc_timestamp += vcpu->tsc_offset;
	info.flags = flags | (vcpu->clock.paused ? PVCLOCK_GUEST_STOPPED : 0);
	vcpu->clock.paused = false;
	write_versioned(vcpu->vm, vcpu->clock.system_time_msr & ~1ULL, &info, sizeof(info));
}

void kvml_clock_get(struct kvml_vm *vm, struct kvm_clock_data *data)
{
	memset(data, 0, sizeof(*data));
	data->flags = CLOCK_FLAGS;
	data->host_tsc = rdtsc_ordered();
	data->realtime = ktime_get_real_ns();
	data->clock = __pvclock_read_cycles(&vm->clock.reference,
					    data->host_tsc + kvml_vmx.tsc_lost);
}

int kvml_clock_set(struct kvml_vm *vm, const struct kvm_clock_data *data)
{
	u64 now = data->clock;

	/* The stable bit and the host's TSC are what KVM_GET_CLOCK gave; they may come back. */
	if (data->flags & ~CLOCK_FLAGS)
		return -EINVAL;
	/* The guest's clock runs on while it is being moved; it never runs back. */
	if (data->flags & KVM_CLOCK_REALTIME)
		now += max_t(u64, ktime_get_real_ns(), data->realtime) - data->realtime;
	set_time(&vm->clock, now);
	return 0;
}

int kvml_clock_pause(struct kvml_vcpu *vcpu)
{
	if (!(vcpu->clock.system_time_msr & 1))
		return -EINVAL;
	vcpu->clock.paused = true;
	vcpu->clock.generation = 0;
	return 0;
}
