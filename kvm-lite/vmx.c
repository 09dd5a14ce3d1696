// SPDX-License-Identifier: GPL-2.0
#include "internal.h"

#include <linux/cpu.h>
#include <linux/namei.h>
#include <linux/pm.h>
#include <linux/reboot.h>
#include <linux/version.h>
#include <asm/desc.h>
#include <asm/nospec-branch.h>
#include <asm/perf_event.h>
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
	bool on;
	bool in_use;			/* a vCPU is loaded */
	bool leaving;			/* VMX is to be off whenever no vCPU is loaded */
	struct list_head loaded;	/* kvml_vcpu.vmcs_entry, changed with interrupts off */
	u64 last;			/* physical address of the VMCS that ran last */
};

static DEFINE_PER_CPU(struct vmx_cpu, vmx_cpus);
static u32 __percpu *regions;		/* of VMXON: a page each */
static unsigned long msr_bitmap[PAGE_SIZE / sizeof(long)] __aligned(PAGE_SIZE);
static int hotplug_state;
static bool minds_emergencies;

/* ----- VMXON on each CPU ----- */

u32 *kvml_vmcs_create(void)
{
	u32 *vmcs = (u32 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

	if (vmcs)
		*vmcs = kvml_vmx.revision;
	return vmcs;
}

static void vmclear(u64 address)
{
	asm volatile("vmclear %0" : : "m" (address) : "cc", "memory");
}

/* Interrupts off, on the CPU in question. */
static void enable_this_cpu(struct vmx_cpu *cpu)
{
	u64 address;

	if (cpu->on)
		return;
	/* On a CPU that is leaving, the bit is ours. */
	if (!cpu->leaving && (cr4_read_shadow() & X86_CR4_VMXE)) {
		pr_err_ratelimited(KVML_NAME ": another hypervisor (kvm-intel?) uses VMX on CPU %d\n",
				   smp_processor_id());
		return;
	}
	/* Some processors cannot trace themselves meanwhile. */
	intel_pt_handle_vmx(1);
	cr4_set_bits(X86_CR4_VMXE);
	address = slow_virt_to_phys(this_cpu_ptr(regions));
	asm goto("1: vmxon %0\n\t"
			  "jna %l[failed]\n\t"
			  _ASM_EXTABLE(1b, %l[failed])
			  : : "m" (address) : "cc", "memory" : failed);
	cpu->on = true;
	return;
failed:
	cr4_clear_bits(X86_CR4_VMXE);
	intel_pt_handle_vmx(0);
	pr_err_ratelimited(KVML_NAME ": VMXON failed on CPU %d; does the firmware allow VMX?\n",
			   smp_processor_id());
}

/* Writes the VMCS back to memory, from where another CPU can load it. */
static void unload_vmcs(struct kvml_vcpu *vcpu)
{
	vmclear(__pa(vcpu->vmcs));
	list_del(&vcpu->vmcs_entry);
	vcpu->launched = false;
	vcpu->vmcs_cpu = -1;
}

/* As enable_this_cpu(). */
static void disable_this_cpu(struct vmx_cpu *cpu)
{
	struct kvml_vcpu *vcpu, *next;

	if (!cpu->on)
		return;
	list_for_each_entry_safe(vcpu, next, &cpu->loaded, vmcs_entry)
		unload_vmcs(vcpu);
	asm volatile("vmxoff" : : : "cc", "memory");
	intel_pt_handle_vmx(0);
	cpu->on = false;
}

/*
 * VMX cannot simply go off when a CPU does, or the machine ends: threads may run until later, with a
 * vCPU loaded or about to load it. So from then on each turns it on for itself, and CR4.VMXE stays set:
 * it tells other hypervisors that VMX is taken, or a thread could find theirs here.
 */
static void set_leaving(void *leaving)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);
	unsigned long flags;

	local_irq_save(flags);
	/* What fails here is tried again when a vCPU is loaded. */
	if (!*(const bool *)leaving)
		enable_this_cpu(cpu);
	else if (!cpu->in_use)
		disable_this_cpu(cpu);
	cpu->leaving = *(const bool *)leaving;
	local_irq_restore(flags);
}

static int bring_up(unsigned int number)
{
	set_leaving(&(bool){ false });
	return this_cpu_read(vmx_cpus.on) ? 0 : -EBUSY;
}

static int take_down(unsigned int number)
{
	set_leaving(&(bool){ true });
	/* If the CPU stays, it is the module that goes. */
	if (cpu_active(number))
		cr4_clear_bits(X86_CR4_VMXE);
	return 0;
}

static u64 tsc_before_sleep;

/* Threads are frozen: no vCPU is loaded, and nobody looks at the time until the machine is awake. */
static int fall_asleep(struct device *device)
{
	on_each_cpu(set_leaving, &(bool){ true }, 1);
	tsc_before_sleep = rdtsc();
	return 0;
}

static int wake_up_again(struct device *device)
{
	const u64 now = rdtsc();

	/* Most machines set the TSC to 0 in their sleep; a hibernated one is another by then. */
	if (now < tsc_before_sleep)
		kvml_vmx.tsc_lost += tsc_before_sleep - now;
	on_each_cpu(set_leaving, &(bool){ false }, 1);
	return 0;
}

struct dev_pm_domain kvml_vmx_sleep = {
	.ops = { NOIRQ_SYSTEM_SLEEP_PM_OPS(fall_asleep, wake_up_again) },
};

/*
 * The next kernel or the firmware must not find VMX on: it blocks INIT. This is for the CPU that
 * restarts the machine, which then has no vCPU loaded.
 */
static int reboot(struct notifier_block *block, unsigned long value, void *unused)
{
	on_each_cpu(set_leaving, &(bool){ true }, 1);
	return NOTIFY_OK;
}

static struct notifier_block reboot_notifier = { .notifier_call = reboot };

/* And this for the CPUs that are stopped wherever they are, and for all after a panic. In an NMI. */
static void turn_off_at_once(void)
{
	/* A fault says that it is off. */
	asm volatile("1: vmxoff\n2:\n\t" _ASM_EXTABLE(1b, 2b) : : : "cc", "memory");
	cr4_clear_bits(X86_CR4_VMXE);
}

/*
 * SDM, "MSR-Bitmap Address": 8192 bits each for reads of low MSRs, of high ones, and for writes; 0
 * passes through. The three of SYSENTER stand side by side, and the bases of FS and GS.
 */
static void fill_msr_bitmap(void)
{
	u32 start;

	memset(msr_bitmap, 0xff, sizeof(msr_bitmap));
	for (start = 0; start < 4 * 8192; start += 2 * 8192) {
		bitmap_clear(msr_bitmap, start + MSR_IA32_SYSENTER_CS, 3);
		bitmap_clear(msr_bitmap, start + 8192 + (MSR_FS_BASE & 0x1fff), 3);
	}
}

int kvml_vmx_init(void)
{
	int cpu, outcome = kvml_vmx_read_capabilities();
	struct path path;

	if (outcome)
		return outcome;
	regions = __alloc_percpu(PAGE_SIZE, PAGE_SIZE);
	if (!regions)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		INIT_LIST_HEAD(&per_cpu(vmx_cpus, cpu).loaded);
		*per_cpu_ptr(regions, cpu) = kvml_vmx.revision;
	}
	fill_msr_bitmap();
	hotplug_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "kvm-lite:online", bring_up,
					  take_down);
	if (hotplug_state < 0) {
		free_percpu(regions);
		return hotplug_state;
	}
	register_reboot_notifier(&reboot_notifier);
	/*
	 * There is room for one, and a warning for a second. kvm-intel takes it with VMX, as we do;
	 * but before 6.12 when it is loaded, and then it turns VMX off for us as well.
	 */
	minds_emergencies = LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) ||
		kern_path("/sys/module/kvm_intel", LOOKUP_FOLLOW, &path);
	if (minds_emergencies)
		cpu_emergency_register_virt_callback(turn_off_at_once);
	else
		path_put(&path);
	return 0;
}

void kvml_vmx_exit(void)
{
	if (minds_emergencies)
		cpu_emergency_unregister_virt_callback(turn_off_at_once);
	unregister_reboot_notifier(&reboot_notifier);
	cpuhp_remove_state(hotplug_state);
	free_percpu(regions);
}

/* ----- VMCSs ----- */

void kvml_vmwrite_failed(unsigned long field, unsigned long value)
{
	WARN_ONCE(1, KVML_NAME ": VMWRITE of 0x%lx to field 0x%lx failed, error %lu\n", value,
		  field, vmread(VM_INSTRUCTION_ERROR));
}

static void clear_here(void *data)
{
	struct kvml_vcpu *vcpu = data;

	/* The CPU may have gone offline, or the VMCS may have moved, before this ran. */
	if (vcpu->vmcs_cpu == smp_processor_id())
		unload_vmcs(vcpu);
}

static void clear_vmcs(struct kvml_vcpu *vcpu)
{
	const int cpu = READ_ONCE(vcpu->vmcs_cpu);

	if (cpu >= 0)
		smp_call_function_single(cpu, clear_here, vcpu, 1);
}

void kvml_vmcs_free(struct kvml_vcpu *vcpu)
{
	clear_vmcs(vcpu);
	free_page((unsigned long)vcpu->vmcs);
}

bool kvml_vmcs_load(struct kvml_vcpu *vcpu)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);
	const u64 address = __pa(vcpu->vmcs);
	unsigned long flags;
	bool moved;

	/* First of all: an interrupt may turn VMX off as long as nobody is here. */
	WRITE_ONCE(cpu->in_use, true);
	moved = READ_ONCE(vcpu->vmcs_cpu) != smp_processor_id();
	if (moved) {
		clear_vmcs(vcpu);
		local_irq_save(flags);
		enable_this_cpu(cpu);
		/* A VMCS that was never loaded has to be cleared, too. */
		vmclear(address);
		list_add(&vcpu->vmcs_entry, &cpu->loaded);
		vcpu->launched = false;
		vcpu->vmcs_cpu = smp_processor_id();
		local_irq_restore(flags);
	}
	asm volatile("vmptrld %0" : : "m" (address) : "cc", "memory");
	/* One guest's training of the branch predictor must not steer the next one's. */
	if (moved || cpu->last != address) {
		cpu->last = address;
		indirect_branch_prediction_barrier();
	}
	return moved;
}

void kvml_vmcs_put(void)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);

	WRITE_ONCE(cpu->in_use, false);
	if (unlikely(READ_ONCE(cpu->leaving)))
		set_leaving(&cpu->leaving);
}

static const u16 zero_fields[] = {
	PAGE_FAULT_ERROR_CODE_MASK, PAGE_FAULT_ERROR_CODE_MATCH, CR3_TARGET_COUNT,
	VM_EXIT_MSR_STORE_COUNT, VM_EXIT_MSR_LOAD_COUNT, VM_ENTRY_MSR_LOAD_COUNT,
	VM_ENTRY_INTR_INFO_FIELD, HOST_DS_SELECTOR, HOST_ES_SELECTOR, HOST_FS_SELECTOR,
	HOST_GS_SELECTOR,
};

void kvml_vmcs_setup(struct kvml_vcpu *vcpu)
{
	struct desc_ptr idt;
	u32 i;

	vmwrite(PIN_BASED_VM_EXEC_CONTROL, kvml_vmx.pin);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, kvml_vmx.primary);
	vmwrite(SECONDARY_VM_EXEC_CONTROL, kvml_vmx.secondary);
	vmwrite(VM_EXIT_CONTROLS, kvml_vmx.exit);
	if (kvml_vmx.secondary & SECONDARY_EXEC_PAUSE_LOOP_EXITING) {
		vmwrite(PLE_GAP, PAUSE_GAP_TICKS);
		vmwrite(PLE_WINDOW, PAUSE_WINDOW_TICKS);
	}
	if (kvml_vmx.secondary & KVML_SECONDARY_XSAVES)
		vmwrite(XSS_EXIT_BITMAP, 0);
	/*
	 * Machine checks are the host's. #DB and #AC go to the guest, but by way of the host: their
	 * delivery can cause them again without end, and no interrupt would ever get through.
	 */
	vmwrite(EXCEPTION_BITMAP, BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC));
	for (i = 0; i < ARRAY_SIZE(zero_fields); i++)
		vmwrite(zero_fields[i], 0);
	vmwrite(MSR_BITMAP, slow_virt_to_phys(msr_bitmap));
	vmwrite(VMCS_LINK_POINTER, ~0ULL);
	vmwrite(EPT_POINTER, vcpu->vm->ept.pointer);
	vmwrite(VIRTUAL_PROCESSOR_ID, vcpu->vpid);

	store_idt(&idt);
	vmwrite(HOST_IDTR_BASE, idt.address);
	vmwrite(HOST_CR0, read_cr0() & ~X86_CR0_TS);
	vmwrite(HOST_CS_SELECTOR, __KERNEL_CS);
	vmwrite(HOST_SS_SELECTOR, __KERNEL_DS);
	vmwrite(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	vmwrite(HOST_IA32_SYSENTER_CS, native_read_msr(MSR_IA32_SYSENTER_CS));
	vmwrite(HOST_IA32_SYSENTER_EIP, native_read_msr(MSR_IA32_SYSENTER_EIP));
	vmwrite(HOST_IA32_PAT, native_read_msr(MSR_IA32_CR_PAT));
	vmwrite(HOST_IA32_EFER, native_read_msr(MSR_EFER));
	vmwrite(HOST_RIP, (unsigned long)kvml_vmx_exit_point);
}
