/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The processor's VMX operation: capabilities, VMXON on each CPU, and VMCSs (SDM volume 3, chapters
 * on virtual-machine extensions). A VMCS is touched only on the CPU where it is loaded, with
 * preemption off or the vCPU's preempt notifier in place.
 */
#ifndef KVML_VMX_H
#define KVML_VMX_H

#include <linux/types.h>
#include <asm/vmx.h>

struct kvml_vcpu;

/* The kernel's own name for it has changed. */
#define KVML_SECONDARY_XSAVES	VMCS_CONTROL_BIT(XSAVES)

/* All but the last is computed once at module load; all CPUs have to agree. */
struct kvml_vmx_config {
	u32 revision;
	u32 pin, primary, secondary, exit, entry;
	u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	u8 timer_shift;		/* ticks of the TSC in one of the preemption timer, as a power of 2 */
	bool small_code;	/* iTLB multihit: code in 2 MiB pages could stop the processor */
	u64 ept_pointer_bits;	/* of every EPTP, beside the address */
	bool flush_l1d;		/* before each entry: the processor has the L1TF bug */
	u64 star, lstar, fmask, xss;	/* of the host */
	u64 tsc_lost;		/* by which the host's TSC went back when the machine slept */
};

extern struct kvml_vmx_config kvml_vmx;

/* Goes with some device: VMX is off, and the TSC is minded, while the machine sleeps. */
extern struct dev_pm_domain kvml_vmx_sleep;

/* The host's TSC, which never goes back. The guest's is this and an offset. */
static inline u64 kvml_tsc(void)
{
	return rdtsc() + kvml_vmx.tsc_lost;
}

/* Can VMX bring a guest out at a given TSC? */
static inline bool kvml_has_preemption_timer(void)
{
	return kvml_vmx.pin & PIN_BASED_VMX_PREEMPTION_TIMER;
}

/* vmx_capabilities.c: fills kvml_vmx. */
int kvml_vmx_read_capabilities(void);
/* Checks what the module needs and says what is missing; -EOPNOTSUPP or -EBUSY. */
int kvml_vmx_init(void);
void kvml_vmx_exit(void);

/* A new one, or null. */
u32 *kvml_vmcs_create(void);
/* The vCPU's, which may still be in some CPU. */
void kvml_vmcs_free(struct kvml_vcpu *vcpu);
/* Makes the vCPU's VMCS the current one of this CPU; preemption off. True: it came from elsewhere. */
bool kvml_vmcs_load(struct kvml_vcpu *vcpu);
/* The vCPU leaves this CPU, where its VMCS may stay; preemption off. */
void kvml_vmcs_put(void);
/* Controls and the host's constant state, once; loaded. */
void kvml_vmcs_setup(struct kvml_vcpu *vcpu);

/* vmx_entry.S: 0 after an exit, 1 if the instruction failed. Interrupts off. */
int kvml_vmx_enter(unsigned long *regs, unsigned long launched);
extern char kvml_vmx_exit_point[];

static __always_inline unsigned long vmread(unsigned long field)
{
	unsigned long value;

	asm volatile("vmread %1, %0" : "=r" (value) : "r" (field) : "cc");
	return value;
}

void kvml_vmwrite_failed(unsigned long field, unsigned long value);

static __always_inline void vmwrite(unsigned long field, unsigned long value)
{
	asm goto("vmwrite %1, %0\n\t"
			  "jna %l[failed]"
			  : : "r" (field), "rm" (value) : "cc" : failed);
	return;
failed:
	kvml_vmwrite_failed(field, value);
}

/* A field that mostly stays as it is; @current_value is what it holds. */
static __always_inline void vmx_update(unsigned long field, unsigned long *current_value,
				       unsigned long value)
{
	if (unlikely(value != *current_value)) {
		*current_value = value;
		vmwrite(field, value);
	}
}

/* SDM, INVEPT and INVVPID: type 1 is single-context for both. */
static inline void kvml_invept(u64 pointer)
{
	const u64 what[2] = { pointer };

	asm volatile("invept %0, %1" : : "m" (what), "r" (1UL) : "cc", "memory");
}

static inline void kvml_invvpid(u16 vpid)
{
	const u64 what[2] = { vpid };

	asm volatile("invvpid %0, %1" : : "m" (what), "r" (1UL) : "cc", "memory");
}

#endif /* KVML_VMX_H */
