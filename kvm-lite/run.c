// SPDX-License-Identifier: GPL-2.0
/* KVM_RUN: into the guest and out again, until user space has something to do. */
#include "internal.h"

#include <linux/sched/signal.h>
#include <asm/debugreg.h>
#include <asm/fpu/xcr.h>
#include <asm/mce.h>
#include <asm/mmu_context.h>
#include <asm/perf_event.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>
#include <asm/trapnr.h>

/* ----- One entry ----- */

static void flush_stale_translations(struct kvml_vcpu *vcpu)
{
	const u64 generation = atomic64_read(&vcpu->vm->ept.generation);

	if (unlikely(vcpu->ept_generation != generation)) {
		vcpu->ept_generation = generation;
		kvml_invept(vcpu->vm->ept.pointer);
	}
	if (unlikely(vcpu->flush_vpid)) {
		vcpu->flush_vpid = false;
		kvml_invvpid(vcpu->vpid);
	}
}

/* Breakpoints are loaded only for a guest that uses them. */
static bool load_debug_registers(struct kvml_vcpu *vcpu)
{
	u32 i;

	if (likely(!(vcpu->dr[7] & (DR_GLOBAL_ENABLE_MASK | DR_LOCAL_ENABLE_MASK))))
		return false;
	set_debugreg(0, 7);
	for (i = 0; i < HBP_NUM; i++)
		set_debugreg(vcpu->dr[i], i);
	set_debugreg(vcpu->dr[6], 6);
	return true;
}

/* VMSCAPE: what the guest taught the branch predictor must not steer user space. */
static void mistrust_predictions(void)
{
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
}

/* As if it had come in user mode: what is broken is the guest's, and the host can live without. */
static void serve_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	struct pt_regs regs = { .cs = 3, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
#endif
}

/* What came for the host while the guest ran, and has to be served with interrupts off. */
static void serve_host_exceptions(u32 reason)
{
	u32 info;

	if ((u16)reason != EXIT_REASON_EXCEPTION_NMI)
		return;
	info = vmread(VM_EXIT_INTR_INFO);
	if ((info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_NMI_INTR)
		/* NMIs stay blocked after this exit until the handler's IRET. */
		asm volatile("int $2");
	else if ((info & INTR_INFO_VECTOR_MASK) == X86_TRAP_MC)
		serve_machine_check();
}

/*
 * perf's counters stop, or go on, for the guest. Its samples must: the processor writes them to linear
 * addresses.
 */
static void switch_counters(const struct perf_guest_switch_msr *msrs, int count, bool to_guest)
{
	int i;

	for (i = 0; msrs && i < count; i++) {
		if (msrs[i].host != msrs[i].guest)
			native_wrmsrl(msrs[i].msr, to_guest ? msrs[i].guest : msrs[i].host);
	}
}

/* With what the VMCS does not hold: CR2, DR0 to DR6, and what rules XSAVE and AMX. Nonzero: failed. */
static int enter_and_leave(struct kvml_vcpu *vcpu)
{
	const bool debug = load_debug_registers(vcpu);
	const unsigned long cr4 = vmread(GUEST_CR4);
	const bool swap_xcr0 = (cr4 & X86_CR4_OSXSAVE) && vcpu->xcr0 != vcpu->host.xcr0;
	/* XRSTOR and WRPKRU are the ways to change it. */
	const bool swap_keys = (cr4 & X86_CR4_PKE) || (vcpu->xcr0 & XFEATURE_MASK_PKRU);
	const struct perf_guest_switch_msr *counters;
	u64 debugctl = native_read_msr(MSR_IA32_DEBUGCTLMSR);
	int failed, count;
	u32 host_pkru;

	counters = perf_guest_get_msrs(&count, NULL);
	switch_counters(counters, count, true);
	if (swap_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
	if (kvml_vmx.xss)
		native_wrmsrl(MSR_IA32_XSS, 0);
	if (swap_keys) {
		host_pkru = rdpkru();
		if (host_pkru != vcpu->pkru)
			wrpkru(vcpu->pkru);
	}
	if (vcpu->msr.xfd_err)
		native_wrmsrl(MSR_IA32_XFD_ERR, vcpu->msr.xfd_err);
	if (native_read_cr2() != vcpu->cr2)
		native_write_cr2(vcpu->cr2);
	/* L1TF: a guest reads through its page tables what is in the L1 cache, so nothing is. */
	if (unlikely(kvml_vmx.flush_l1d))
		native_wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	failed = kvml_vmx_enter(vcpu->regs, vcpu->launched);
	vcpu->cr2 = native_read_cr2();
	/* The guest's #NM has left its cause here, where the host's own would. */
	if (vcpu->msr.xfd_err || vcpu->fpu.fpstate->xfd) {
		rdmsrl(MSR_IA32_XFD_ERR, vcpu->msr.xfd_err);
		native_wrmsrl(MSR_IA32_XFD_ERR, 0);
	}
	if (swap_keys) {
		vcpu->pkru = rdpkru();
		if (host_pkru != vcpu->pkru)
			wrpkru(host_pkru);
	}
	if (kvml_vmx.xss)
		native_wrmsrl(MSR_IA32_XSS, kvml_vmx.xss);
	if (swap_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->host.xcr0);
	if (debug) {
		get_debugreg(vcpu->dr[6], 6);
		set_debugreg(DR6_RESERVED, 6);
	}
	/* The exit cleared what the host uses to trace itself. */
	if (unlikely(debugctl))
		native_wrmsrl(MSR_IA32_DEBUGCTLMSR, debugctl);
	switch_counters(counters, count, false);
	if (unlikely(hw_breakpoint_active()))
		hw_breakpoint_restore();
	return failed;
}

/* KVM_RUN has to return, whatever the guest would do next. */
static inline bool must_return(struct kvml_vcpu *vcpu)
{
	/* Some kernels rename immediate_exit for everybody but user space; its place is ABI. */
	return signal_pending(current) ||
		READ_ONCE(*(&vcpu->run->request_interrupt_window + 1));
}

/* As above, or there is work that the kernel does on the way to user space. */
static inline bool must_leave(struct kvml_vcpu *vcpu)
{
	return must_return(vcpu) || test_thread_flag(TIF_NOTIFY_RESUME);
}

static bool halt_is_over(struct kvml_vcpu *vcpu)
{
	return vcpu->mp_state == KVM_MP_STATE_HALTED && kvml_has_wakeup(vcpu);
}

void kvml_accept_requests(struct kvml_vcpu *vcpu)
{
	/* A full barrier: what was written before a request is seen from here on. */
	const unsigned long requests = xchg(&vcpu->requests, 0);
	u8 vector;

	if ((requests & BIT(KVML_REQUEST_NMI)) && vcpu->events.nmi_pending < 2)
		vcpu->events.nmi_pending++;
	if (requests & BIT(KVML_REQUEST_TIMER))
		kvml_lapic_expire(vcpu);
	/* SDM, "MP Initialization Protocol": INIT resets, and a SIPI wakes who waits for one. */
	if (requests & BIT(KVML_REQUEST_INIT)) {
		kvml_apic_reset(&vcpu->lapic.apic);
		kvml_vcpu_init(vcpu);
		vcpu->mp_state = vcpu->id == 0 ? KVM_MP_STATE_RUNNABLE :
			KVM_MP_STATE_INIT_RECEIVED;
	}
	if ((requests & BIT(KVML_REQUEST_STARTUP)) &&
	    vcpu->mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		vector = READ_ONCE(vcpu->lapic.startup_vector);
		vmwrite(GUEST_CS_SELECTOR, vector << 8);
		vmwrite(GUEST_CS_BASE, vector << 12);
		vmwrite(GUEST_RIP, 0);
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

/* What keeps the vCPU from the guest, or woke it. */
static int serve_requests(struct kvml_vcpu *vcpu)
{
	kvml_accept_requests(vcpu);
	/* A timer that is masked, say, ends the wait but not the halt. */
	if (halt_is_over(vcpu))
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	if (!must_leave(vcpu))
		return KVML_RESUME;
	vcpu->run->exit_reason = KVM_EXIT_INTR;
	if (must_return(vcpu))
		return -EINTR;
	/* There and, unseen, back again; but -EINTR where a signal's handler runs on the way. */
	set_thread_flag(TIF_NOTIFY_SIGNAL);
	return -ERESTARTNOHAND;
}

static int entry_failed(struct kvml_vcpu *vcpu, u32 reason)
{
	const u32 event = vmread(VM_ENTRY_INTR_INFO_FIELD);

	if (event & INTR_INFO_VALID_MASK) {
		kvml_recover_event(vcpu, event, VM_ENTRY_EXCEPTION_ERROR_CODE);
		vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
	}
	pr_warn_ratelimited(KVML_NAME ": entry failed, reason 0x%x, qualification 0x%lx\n", reason,
			    vmread(EXIT_QUALIFICATION));
	vcpu->run->fail_entry.hardware_entry_failure_reason = reason;
	vcpu->run->fail_entry.cpu = vcpu->vmcs_cpu;
	return kvml_to_user(vcpu, KVM_EXIT_FAIL_ENTRY);
}

static int run_once(struct kvml_vcpu *vcpu)
{
	u32 reason, event;
	bool entered;

	/* May write to guest memory, so it comes before interrupts go off. */
	kvml_clock_update(vcpu);

	local_irq_disable();
	/*
	 * Who posts work writes it first and then looks at the CPU; we do it the other way round.
	 * So either we see the work here, or it sees us and interrupts.
	 */
	smp_store_mb(vcpu->running_cpu, smp_processor_id());
	if (need_resched() || must_leave(vcpu) || READ_ONCE(vcpu->requests)) {
		WRITE_ONCE(vcpu->running_cpu, -1);
		local_irq_enable();
		return serve_requests(vcpu);
	}
	/* The host used the FPU meanwhile, or another thread ran: the guest's registers come back. */
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	/* An idle one counts for seconds and brings the guest out for nothing at its end. */
	if (kvml_has_preemption_timer())
		vmx_update(VMX_PREEMPTION_TIMER_VALUE, &vcpu->timer_ticks,
			   kvml_lapic_timer_ticks(vcpu));
	kvml_inject_pending(vcpu);
	flush_stale_translations(vcpu);
	/* The host's change behind our back; the exit has to restore the present ones. */
	vmx_update(HOST_CR3, &vcpu->host.cr3, __get_current_cr3_fast());
	vmx_update(HOST_CR4, &vcpu->host.cr4, cr4_read_shadow());
	rcu_note_context_switch(false);
	/* The tick that ends this stay counts as the guest's time. */
	current->flags |= PF_VCPU;
	entered = !enter_and_leave(vcpu);
	/* What is read from here on is not older than the exit. */
	smp_store_mb(vcpu->running_cpu, -1);
	reason = vmread(likely(entered) ? VM_EXIT_REASON : VM_INSTRUCTION_ERROR);
	entered = entered && !(reason & VMX_EXIT_REASONS_FAILED_VMENTRY);
	if (likely(entered)) {
		vcpu->launched = true;
		mistrust_predictions();
		serve_host_exceptions(reason);
	} else if ((u16)reason == EXIT_REASON_MCE_DURING_VMENTRY) {
		serve_machine_check();
	}
	/* An interrupt that brought us out is served here. */
	local_irq_enable();
	current->flags &= ~PF_VCPU;
	if (unlikely(!entered))
		return entry_failed(vcpu, reason);
	event = vmread(IDT_VECTORING_INFO_FIELD);
	if (unlikely(event & VECTORING_INFO_VALID_MASK))
		kvml_recover_event(vcpu, event, IDT_VECTORING_ERROR_CODE);
	return kvml_handle_exit(vcpu, reason);
}

/* ----- Waiting ----- */

/* HLT, or waiting for INIT and SIPI. The VMCS stays loaded: waking reads it. */
static int wait_for_work(struct kvml_vcpu *vcpu)
{
	struct kvml_apic *apic = &vcpu->lapic.apic;

	/* From here on the host's timer minds a TSC deadline. */
	if (apic->tsc_deadline)
		kvml_apic_timer_changed(apic);
	wait_event_interruptible(vcpu->wait, READ_ONCE(vcpu->requests) || halt_is_over(vcpu) ||
				 must_leave(vcpu));
	return serve_requests(vcpu);
}

/* ----- KVM_RUN ----- */

/* What user space may want to know after each return. */
static void publish(struct kvml_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->if_flag = !!(vmread(GUEST_RFLAGS) & X86_EFLAGS_IF);
	run->cr8 = kvml_apic_cr8(&vcpu->lapic.apic);
	run->apic_base = vcpu->lapic.apic.base;
	run->flags = 0;
	run->ready_for_interrupt_injection = kvml_interrupt_allowed() &&
		!vcpu->events.interrupt && !vcpu->events.exception;
}

/* KVML_TO_USER, or a negative errno. */
static int run_loop(struct kvml_vcpu *vcpu)
{
	int ended, outcome;

	for (;;) {
		cond_resched();
		vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
		outcome = likely(vcpu->mp_state == KVM_MP_STATE_RUNNABLE) ? run_once(vcpu) :
									     wait_for_work(vcpu);
		if (outcome != KVML_RESUME)
			return outcome;
		/* User space's IOAPIC may have to send a level-triggered interrupt again. */
		ended = vcpu->lapic.apic.ended;
		vcpu->lapic.apic.ended = 0;
		if (unlikely(ended) && kvml_ioapic_owns(vcpu->vm, ended)) {
			vcpu->run->eoi.vector = ended;
			return kvml_to_user(vcpu, KVM_EXIT_IOAPIC_EOI);
		}
	}
}

int kvml_vcpu_run(struct kvml_vcpu *vcpu)
{
	int outcome;

	/* The kernel looks at real_blocked: a signal that only this mask lets in stays pending. */
	if (vcpu->sigset_active)
		sigprocmask(SIG_SETMASK, &vcpu->sigset, &current->real_blocked);
	/* The LAPIC is in user space, and so is the priority. */
	if (!vcpu->vm->split_irqchip)
		kvml_apic_set_cr8(&vcpu->lapic.apic, READ_ONCE(vcpu->run->cr8));
	fpu_swap_kvm_fpstate(&vcpu->fpu, true);
	kvml_vcpu_load(vcpu);
	outcome = kvml_complete_io(vcpu) ?: run_loop(vcpu);
	publish(vcpu);
	kvml_vcpu_put(vcpu);
	fpu_swap_kvm_fpstate(&vcpu->fpu, false);
	if (vcpu->sigset_active) {
		sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
		sigemptyset(&current->real_blocked);
	}
	return outcome;
}
