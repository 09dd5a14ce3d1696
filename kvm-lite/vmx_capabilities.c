// SPDX-License-Identifier: GPL-2.0
/* What the processor's VMX can do, and whether that is enough. */
#include "internal.h"

#include <linux/cpu.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

struct kvml_vmx_config kvml_vmx;

static int refuse(const char *why)
{
	pr_err(KVML_NAME ": %s\n", why);
	return -EOPNOTSUPP;
}

/*
 * The value of a control field: @required and as much of @optional as there is. SDM volume 3,
 * appendix "VMX Capability Reporting Facility": low half, bits that must be 1; high half, that may.
 */
static int adjust(u32 msr, u32 *result, u32 required, u32 optional)
{
	u32 must, may;

	/* All but the secondary controls may have a second, exact MSR, in the same order. */
	if (msr <= MSR_IA32_VMX_ENTRY_CTLS && (native_read_msr(MSR_IA32_VMX_BASIC) & BIT_ULL(55)))
		msr += MSR_IA32_VMX_TRUE_PINBASED_CTLS - MSR_IA32_VMX_PINBASED_CTLS;
	rdmsr(msr, must, may);
	*result = ((required | optional) & may) | must;
	if (!(required & ~*result))
		return 0;
	pr_err(KVML_NAME ": this processor's MSR 0x%x lacks the controls 0x%x\n", msr,
	       required & ~*result);
	return -EOPNOTSUPP;
}

static int read_controls(void)
{
	/* Before Sandy Bridge, which brought AVX, its errata make it too slow or too fast. */
	const u32 timer = boot_cpu_has(X86_FEATURE_AVX) ? PIN_BASED_VMX_PREEMPTION_TIMER : 0;
	const int outcome =
		adjust(MSR_IA32_VMX_PINBASED_CTLS, &kvml_vmx.pin, PIN_BASED_EXT_INTR_MASK |
		       PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS, timer) ?:
		adjust(MSR_IA32_VMX_PROCBASED_CTLS, &kvml_vmx.primary,
		       CPU_BASED_HLT_EXITING | CPU_BASED_USE_TSC_OFFSETTING |
		       CPU_BASED_CR8_LOAD_EXITING | CPU_BASED_CR8_STORE_EXITING |
		       CPU_BASED_UNCOND_IO_EXITING | CPU_BASED_MOV_DR_EXITING |
		       CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS |
		       CPU_BASED_MWAIT_EXITING | CPU_BASED_MONITOR_EXITING |
		       CPU_BASED_RDPMC_EXITING, 0) ?:
		adjust(MSR_IA32_VMX_PROCBASED_CTLS2, &kvml_vmx.secondary,
		       SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_ENABLE_VPID |
		       SECONDARY_EXEC_UNRESTRICTED_GUEST | SECONDARY_EXEC_ENABLE_RDTSCP,
		       SECONDARY_EXEC_WBINVD_EXITING | SECONDARY_EXEC_ENABLE_INVPCID |
		       SECONDARY_EXEC_PAUSE_LOOP_EXITING | KVML_SECONDARY_XSAVES) ?:
		adjust(MSR_IA32_VMX_EXIT_CTLS, &kvml_vmx.exit,
		       VM_EXIT_HOST_ADDR_SPACE_SIZE | VM_EXIT_SAVE_IA32_PAT | VM_EXIT_LOAD_IA32_PAT |
		       VM_EXIT_SAVE_IA32_EFER | VM_EXIT_LOAD_IA32_EFER | VM_EXIT_SAVE_DEBUG_CONTROLS,
		       0) ?:
		adjust(MSR_IA32_VMX_ENTRY_CTLS, &kvml_vmx.entry, VM_ENTRY_LOAD_IA32_PAT |
		       VM_ENTRY_LOAD_IA32_EFER | VM_ENTRY_LOAD_DEBUG_CONTROLS, 0);

	/* Exits on CR3 and INVLPG belong to shadow paging; EPT makes them optional. */
	kvml_vmx.primary &= ~(CPU_BASED_CR3_LOAD_EXITING | CPU_BASED_CR3_STORE_EXITING |
			      CPU_BASED_INVLPG_EXITING);
	return outcome;
}

static int read_ept(void)
{
	const u64 capabilities = native_read_msr(MSR_IA32_VMX_EPT_VPID_CAP);
	const u64 needed = VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT | VMX_EPT_2MB_PAGE_BIT |
		VMX_EPT_INVEPT_BIT | VMX_EPT_EXTENT_CONTEXT_BIT |
		(u64)VMX_VPID_INVVPID_BIT << 32 | (u64)VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT << 32;

	if (needed & ~capabilities)
		return refuse("this processor's EPT lacks 2 MiB, write-back, INVEPT or INVVPID");
	kvml_vmx.ept_pointer_bits = VMX_EPTP_MT_WB | VMX_EPTP_PWL_4;
	/* Nobody reads the flags; but walks of the guest's page tables count as writes at once. */
	if (capabilities & VMX_EPT_AD_BIT)
		kvml_vmx.ept_pointer_bits |= VMX_EPTP_AD_ENABLE_BIT;
	return 0;
}

static void read_mitigations(void)
{
	kvml_vmx.small_code = boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && !cpu_mitigations_off();
	if (!boot_cpu_has_bug(X86_BUG_L1TF) || l1tf_mitigation == L1TF_MITIGATION_OFF)
		return;
	kvml_vmx.flush_l1d = boot_cpu_has(X86_FEATURE_FLUSH_L1D);
	if (!kvml_vmx.flush_l1d)
		pr_warn(KVML_NAME ": the L1TF bug needs newer microcode; guests may read host memory\n");
}

int kvml_vmx_read_capabilities(void)
{
	/* Spin locks are held with interrupts off, and an interrupt's own timer wakes threads. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return refuse("kernels with PREEMPT_RT are not supported");
	if (!boot_cpu_has(X86_FEATURE_VMX))
		return refuse("this processor has no VMX, or the firmware disabled it");
	if (!boot_cpu_has(X86_FEATURE_CONSTANT_TSC) || check_tsc_unstable())
		return refuse("the TSC is not constant, so guests would lose time");
	if (!boot_cpu_has(X86_FEATURE_OSXSAVE) || !boot_cpu_has(X86_FEATURE_NX))
		return refuse("this processor lacks XSAVE or NX, or the kernel was told not to use it");
	kvml_vmx.revision = native_read_msr(MSR_IA32_VMX_BASIC) & 0x7fffffff;
	kvml_vmx.timer_shift = native_read_msr(MSR_IA32_VMX_MISC) & 0x1f;
	rdmsrl(MSR_IA32_VMX_CR0_FIXED0, kvml_vmx.cr0_fixed0);
	rdmsrl(MSR_IA32_VMX_CR0_FIXED1, kvml_vmx.cr0_fixed1);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED0, kvml_vmx.cr4_fixed0);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, kvml_vmx.cr4_fixed1);
	/* Keys are the guest's only where the kernel keeps those of processes apart. */
	if (!boot_cpu_has(X86_FEATURE_OSPKE))
		kvml_vmx.cr4_fixed1 &= ~(u64)X86_CR4_PKE;
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		rdmsrl(MSR_IA32_XSS, kvml_vmx.xss);
	rdmsrl(MSR_STAR, kvml_vmx.star);
	rdmsrl(MSR_LSTAR, kvml_vmx.lstar);
	rdmsrl(MSR_SYSCALL_MASK, kvml_vmx.fmask);
	read_mitigations();
	return read_controls() ?: read_ept();
}
