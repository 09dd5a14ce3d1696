// SPDX-License-Identifier: GPL-2.0
#include "internal.h"

#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/reboot.h>
#include <linux/syscore_ops.h>
#include <linux/version.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/nospec-branch.h>
#include <asm/reboot.h>
#include <asm/tlbflush.h>
#include <asm/trapnr.h>

/*
 * A guest that executes PAUSE again within the gap spins; when it has spun for the window, it comes
 * out, so that the vCPU it waits for can have the processor. Ticks of the TSC, KVM's values.
 */
#define PAUSE_GAP_TICKS		128
#define PAUSE_WINDOW_TICKS	4096

struct vmx_cpu {
	struct page *region;		/* of VMXON */
	bool on;
	struct list_head loaded;	/* kvml_vcpu.vmcs_entry, changed with interrupts off */
	u64 last;			/* physical address of the VMCS that ran last */
};

static DEFINE_PER_CPU(struct vmx_cpu, vmx_cpus);
static DEFINE_IDA(vpids);
static u64 *msr_bitmap;
static int hotplug_state;
static atomic_t users;
static bool stopping;

/* ----- VMXON on each CPU ----- */

static int vmxon(u64 address)
{
	asm goto("1: vmxon %0\n\t"
			  "jna %l[failed]\n\t"
			  _ASM_EXTABLE(1b, %l[failed])
			  : : "m" (address) : "cc", "memory" : failed);
	return 0;
failed:
	return -EIO;
}

/* Interrupts off, on the CPU in question. */
static int enable_this_cpu(void)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);
	int outcome;

	if (cpu->on)
		return 0;
	if (cr4_read_shadow() & X86_CR4_VMXE) {
		pr_err(KVML_NAME ": another hypervisor (kvm-intel?) uses VMX on CPU %d\n",
		       smp_processor_id());
		return -EBUSY;
	}
	cr4_set_bits(X86_CR4_VMXE);
	outcome = vmxon(page_to_phys(cpu->region));
	if (outcome) {
		cr4_clear_bits(X86_CR4_VMXE);
		pr_err(KVML_NAME ": VMXON failed on CPU %d; does the firmware allow VMX?\n",
		       smp_processor_id());
		return outcome;
	}
	cpu->on = true;
	return 0;
}

static void vmclear(u64 address)
{
	asm volatile("vmclear %0" : : "m" (address) : "cc", "memory");
}

/* Interrupts off. Writes every VMCS back to memory, from where another CPU can load it. */
static void disable_this_cpu(void)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);
	struct kvml_vcpu *vcpu, *next;

	if (!cpu->on)
		return;
	list_for_each_entry_safe(vcpu, next, &cpu->loaded, vmcs_entry) {
		vmclear(page_to_phys(vcpu->vmcs));
		list_del_init(&vcpu->vmcs_entry);
		vcpu->launched = false;
		vcpu->vmcs_cpu = -1;
	}
	asm volatile("vmxoff" : : : "cc", "memory");
	cr4_clear_bits(X86_CR4_VMXE);
	cpu->on = false;
}

static int bring_up(unsigned int cpu)
{
	unsigned long flags;
	int outcome;

	local_irq_save(flags);
	outcome = enable_this_cpu();
	local_irq_restore(flags);
	return outcome;
}

static int take_down(unsigned int cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	disable_this_cpu();
	local_irq_restore(flags);
	return 0;
}

/* The last CPU, while the machine sleeps; the others were taken offline. */
#ifdef KVML_NEW_SYSCORE
#define SYSCORE_ARGUMENT	void *unused
#else
#define SYSCORE_ARGUMENT	void
#endif

static int suspend(SYSCORE_ARGUMENT)
{
	disable_this_cpu();
	return 0;
}

static void resume(SYSCORE_ARGUMENT)
{
	enable_this_cpu();
}

#ifdef KVML_NEW_SYSCORE
static const struct syscore_ops power_ops = { .suspend = suspend, .resume = resume };
static struct syscore power = { .ops = &power_ops };

static void watch_power(void)
{
	register_syscore(&power);
}

static void unwatch_power(void)
{
	unregister_syscore(&power);
}
#else
static struct syscore_ops power_ops = { .suspend = suspend, .resume = resume };

static void watch_power(void)
{
	register_syscore_ops(&power_ops);
}

static void unwatch_power(void)
{
	unregister_syscore_ops(&power_ops);
}
#endif

static void disable_on(void *unused)
{
	disable_this_cpu();
}

int kvml_vmx_get(void)
{
	atomic_inc(&users);
	/* Pairs with the barrier in reboot(): one of the two sees the other. */
	smp_mb__after_atomic();
	if (likely(!READ_ONCE(stopping)))
		return 0;
	atomic_dec(&users);
	return -ESHUTDOWN;
}

void kvml_vmx_put(void)
{
	atomic_dec(&users);
}

bool kvml_vmx_stopping(void)
{
	return READ_ONCE(stopping);
}

/* The next kernel or the firmware must not find VMX on: it blocks INIT. */
static int reboot(struct notifier_block *block, unsigned long value, void *unused)
{
	int tries;

	WRITE_ONCE(stopping, true);
	/* Pairs with the barrier in kvml_vmx_get(). */
	smp_mb();
	kvml_kick_all();
	for (tries = 0; atomic_read(&users) && tries < 100; tries++)
		msleep(20);
	/* A thread that is still in there would fault without VMX: then leaving it on is better. */
	if (atomic_read(&users))
		pr_warn(KVML_NAME ": VMX stays on, %d vCPU threads do not stop\n",
			atomic_read(&users));
	else
		on_each_cpu(disable_on, NULL, 1);
	return NOTIFY_OK;
}

static struct notifier_block reboot_notifier = { .notifier_call = reboot };

static int allocate_regions(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *state = per_cpu_ptr(&vmx_cpus, cpu);

		INIT_LIST_HEAD(&state->loaded);
		state->region = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		if (!state->region)
			return -ENOMEM;
		*(u32 *)page_address(state->region) = kvml_vmx.revision;
	}
	return 0;
}

static void free_regions(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct page *region = per_cpu_ptr(&vmx_cpus, cpu)->region;

		if (region)
			__free_page(region);
	}
}

/* SDM, "MSR-Bitmap Address": 0 bits pass through. Low MSRs at bytes 0 and 2048, high ones behind. */
static void pass_through(u32 msr)
{
	const u32 offset = msr >= 0xc0000000 ? 1024 * 8 : 0;
	const u32 bit = offset + (msr & 0x1fff);

	__clear_bit(bit, (unsigned long *)msr_bitmap);
	__clear_bit(bit + 2048 * 8, (unsigned long *)msr_bitmap);
}

static int create_msr_bitmap(void)
{
	static const u32 passed[] = {
		MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS,
		MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	};
	u32 i;

	msr_bitmap = (u64 *)__get_free_page(GFP_KERNEL);
	if (!msr_bitmap)
		return -ENOMEM;
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(passed); i++)
		pass_through(passed[i]);
	return 0;
}

int kvml_vmx_init(void)
{
	int outcome = kvml_vmx_read_capabilities();

	if (outcome)
		return outcome;
	outcome = allocate_regions();
	outcome = outcome ?: create_msr_bitmap();
	if (outcome)
		goto free;
	outcome = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "kvm-lite:online", bring_up,
				    take_down);
	if (outcome < 0)
		goto free;
	hotplug_state = outcome;
	watch_power();
	register_reboot_notifier(&reboot_notifier);
	return 0;

free:
	free_page((unsigned long)msr_bitmap);
	free_regions();
	return outcome;
}

void kvml_vmx_exit(void)
{
	unregister_reboot_notifier(&reboot_notifier);
	unwatch_power();
	cpuhp_remove_state(hotplug_state);
	free_page((unsigned long)msr_bitmap);
	free_regions();
	ida_destroy(&vpids);
}

/* ----- VMCSs ----- */

void kvml_vmwrite_failed(unsigned long field, unsigned long value)
{
	WARN_ONCE(1, KVML_NAME ": VMWRITE of 0x%lx to field 0x%lx failed, error %lu\n", value,
		  field, vmread(VM_INSTRUCTION_ERROR));
}

int kvml_vmcs_create(struct kvml_vcpu *vcpu)
{
	int vpid;

	vcpu->vmcs = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!vcpu->vmcs)
		return -ENOMEM;
	*(u32 *)page_address(vcpu->vmcs) = kvml_vmx.revision;
	vcpu->vmcs_cpu = -1;
	vcpu->last_cpu = -1;
	INIT_LIST_HEAD(&vcpu->vmcs_entry);
	/* VPID 0 is the host. */
	vpid = ida_alloc_range(&vpids, 1, 0xffff, GFP_KERNEL);
	if (vpid < 0) {
		__free_page(vcpu->vmcs);
		vcpu->vmcs = NULL;
		return vpid;
	}
	vcpu->vpid = vpid;
	return 0;
}

static void clear_here(void *data)
{
	struct kvml_vcpu *vcpu = data;

	/* The CPU may have gone offline, or the VMCS may have moved, before this ran. */
	if (vcpu->vmcs_cpu != smp_processor_id())
		return;
	vmclear(page_to_phys(vcpu->vmcs));
	list_del_init(&vcpu->vmcs_entry);
	vcpu->launched = false;
	vcpu->vmcs_cpu = -1;
}

static void clear_vmcs(struct kvml_vcpu *vcpu)
{
	const int cpu = READ_ONCE(vcpu->vmcs_cpu);

	if (cpu >= 0)
		smp_call_function_single(cpu, clear_here, vcpu, 1);
}

void kvml_vmcs_destroy(struct kvml_vcpu *vcpu)
{
	if (!vcpu->vmcs)
		return;
	clear_vmcs(vcpu);
	ida_free(&vpids, vcpu->vpid);
	__free_page(vcpu->vmcs);
}

bool kvml_vmcs_load(struct kvml_vcpu *vcpu)
{
	const int cpu = smp_processor_id();
	const u64 address = page_to_phys(vcpu->vmcs);
	unsigned long flags;
	bool moved = false;

	if (vcpu->vmcs_cpu != cpu) {
		clear_vmcs(vcpu);
		local_irq_save(flags);
		/* A VMCS that was never loaded has to be cleared, too. */
		vmclear(address);
		list_add(&vcpu->vmcs_entry, &per_cpu(vmx_cpus, cpu).loaded);
		vcpu->launched = false;
		vcpu->vmcs_cpu = cpu;
		local_irq_restore(flags);
		moved = true;
	}
	asm volatile("vmptrld %0" : : "m" (address) : "cc", "memory");
	/* One guest's training of the branch predictor must not steer the next one's. */
	if (this_cpu_read(vmx_cpus.last) != address) {
		this_cpu_write(vmx_cpus.last, address);
		indirect_branch_prediction_barrier();
	}
	return moved;
}

static void setup_controls(struct kvml_vcpu *vcpu)
{
	vmwrite(PIN_BASED_VM_EXEC_CONTROL, kvml_vmx.pin);
	if (kvml_has_preemption_timer()) {
		vcpu->timer_ticks = KVML_TIMER_IDLE;
		vmwrite(VMX_PREEMPTION_TIMER_VALUE, vcpu->timer_ticks);
	}
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, kvml_vmx.primary);
	vmwrite(SECONDARY_VM_EXEC_CONTROL, kvml_vmx.secondary);
	if (kvml_vmx.secondary & SECONDARY_EXEC_PAUSE_LOOP_EXITING) {
		vmwrite(PLE_GAP, PAUSE_GAP_TICKS);
		vmwrite(PLE_WINDOW, PAUSE_WINDOW_TICKS);
	}
	vmwrite(VM_EXIT_CONTROLS, kvml_vmx.exit);
	vmwrite(VM_ENTRY_CONTROLS, kvml_vmx.entry);
	/*
	 * Machine checks are the host's. #DB and #AC go to the guest, but by way of the host: their
	 * delivery can cause them again without end, and no interrupt would ever get through.
	 */
	vmwrite(EXCEPTION_BITMAP, BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC));
	vmwrite(PAGE_FAULT_ERROR_CODE_MASK, 0);
	vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, 0);
	vmwrite(CR3_TARGET_COUNT, 0);
	vmwrite(VM_EXIT_MSR_STORE_COUNT, 0);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, 0);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
	vmwrite(MSR_BITMAP, virt_to_phys(msr_bitmap));
	vmwrite(VMCS_LINK_POINTER, ~0ULL);
	vmwrite(EPT_POINTER, vcpu->vm->ept.pointer);
	vmwrite(VIRTUAL_PROCESSOR_ID, vcpu->vpid);
	vmwrite(TSC_OFFSET, vcpu->tsc_offset);
}

void kvml_vmcs_setup(struct kvml_vcpu *vcpu)
{
	struct desc_ptr idt;

	setup_controls(vcpu);
	store_idt(&idt);
	vmwrite(HOST_IDTR_BASE, idt.address);
	vmwrite(HOST_CR0, read_cr0() & ~X86_CR0_TS);
	vmwrite(HOST_CS_SELECTOR, __KERNEL_CS);
	vmwrite(HOST_SS_SELECTOR, __KERNEL_DS);
	vmwrite(HOST_DS_SELECTOR, 0);
	vmwrite(HOST_ES_SELECTOR, 0);
	vmwrite(HOST_FS_SELECTOR, 0);
	vmwrite(HOST_GS_SELECTOR, 0);
	vmwrite(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	vmwrite(HOST_IA32_SYSENTER_CS, native_read_msr(MSR_IA32_SYSENTER_CS));
	vmwrite(HOST_IA32_SYSENTER_EIP, native_read_msr(MSR_IA32_SYSENTER_EIP));
	vmwrite(HOST_IA32_PAT, kvml_vmx.pat);
	vmwrite(HOST_IA32_EFER, kvml_vmx.efer);
	vmwrite(HOST_RIP, (unsigned long)kvml_vmx_exit_point);
}

void kvml_vmcs_set_host_cpu(void)
{
	const int cpu = smp_processor_id();

	vmwrite(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	vmwrite(HOST_GDTR_BASE, (unsigned long)get_current_gdt_ro());
	vmwrite(HOST_IA32_SYSENTER_ESP, native_read_msr(MSR_IA32_SYSENTER_ESP));
	vmwrite(HOST_GS_BASE, native_read_msr(MSR_GS_BASE));
}
