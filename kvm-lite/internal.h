/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The structures of kvm-lite and what its files offer one another.
 *
 * A VM lives as long as one of its descriptors (its own and its vCPUs'). A vCPU belongs to the
 * thread that holds its mutex; everybody else may only read what is marked "any thread", send to its
 * LAPIC, set requests and kick it.
 *
 * Lock order:
 *   vcpu->lock (mutex; each vCPU ioctl)
 *     vm->lock (mutex; creation of vCPUs, changes of memory slots and of what interrupts.h names, the
 *               TSC that vCPUs share)
 *       vm->slots_lock (rwsem; read: use of slots, write: their change)
 *         mm's own locks (a page of guest memory is faulted in)
 *           vm->ept.lock (spin; EPT entries; also taken by the mmu notifier, inside mm's locks)
 *   The other locks in interrupts.h take nothing of the above.
 * Slots change with slots_lock written and ept.lock held, so either of them is enough to read.
 */
#ifndef KVML_INTERNAL_H
#define KVML_INTERNAL_H

#include <linux/kernel.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/io.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "ept_walk.h"
#include "guest_walk.h"
#include "interrupts.h"
#include "mmio_decode.h"

#define KVML_NAME		"kvm-lite"
#define KVML_VCPUS_MAX		64u
#define KVML_SLOTS_MAX		64u
#define KVML_CPUID_MAX		128u
#define KVML_MSRS_MAX		256u
#define KVML_MC_REGISTERS	(4 * 10)	/* machine-check banks, each of CTL STATUS ADDR MISC */
/* kvm_run, then one page of port I/O data. */
#define KVML_RUN_PAGES		2
#define KVML_PIO_OFFSET		PAGE_SIZE
#define KVML_BLOCKING_STI_OR_SS	(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

/* A range of guest-physical pages and the process's pages behind them. */
struct kvml_memslot {
	u32 flags;		/* KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY */
	u64 gfn;
	u64 pages;
	unsigned long hva;
	unsigned long *dirty;	/* one bit a page; null unless logged; ept.lock to use it */
};

struct kvml_ept {
	spinlock_t lock;
	u64 *root;
	u64 pointer;			/* EPTP */
	atomic64_t generation;		/* entries were taken away; see flush() in ept.c */
	atomic_t invalidations;		/* mmu notifier: under way, anywhere in the process */
	unsigned long sequence;		/* of changes of slots, and of what the process has there */
};

/* The VM's descriptor owns it; those of its vCPUs hold that open. */
struct kvml_vm {
	struct mm_struct *mm;
	struct mmu_notifier notifier;
	struct mutex lock;
	struct rw_semaphore slots_lock;
	struct kvml_memslot slots[KVML_SLOTS_MAX];	/* by id; without pages: not there */
	u32 slot_count;			/* no slot from here on was ever there */
	struct kvml_ept ept;
	struct kvml_interrupts interrupts;
	struct kvml_clock clock;
	u64 wall_clock_msr;
	u64 tsc_offset;			/* what vCPUs start with: their TSC is 0 at VM creation */
	bool split_irqchip;
	u32 vcpu_count;			/* release/acquire: that many of vcpus are complete */
	struct kvml_vcpu *vcpus[KVML_VCPUS_MAX];
	struct cpumask flush_mask;	/* scratch of flush() in ept.c, under ept.lock */
};

/*
 * What waits to be injected, or was on its way when the guest left: exception and interrupt as
 * VM_ENTRY_INTR_INFO_FIELD takes them, or 0.
 */
struct kvml_events {
	u32 exception;
	u32 exception_error;
	u8 nmi_pending;		/* up to 2; one that was under way is one of them */
	u32 interrupt;		/* taken from the LAPIC, or of a PIC in user space (KVM_INTERRUPT) */
};

#define KVML_INTERRUPT		(INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR)	/* and a vector */

/* What an exit to user space has to be completed with on the next KVM_RUN. */
enum kvml_io_kind {
	KVML_IO_NONE,
	KVML_IO_PORT_IN,
	KVML_IO_MMIO_READ,
};

struct kvml_io {
	enum kvml_io_kind kind;
	u32 port;		/* as the exit qualifies the access */
	u8 size;
	u32 count;		/* of string I/O, else 1 */
	u64 address;		/* of the string in guest-linear memory */
	unsigned long *index;	/* the string's RSI or RDI */
	u8 address_size;	/* of the string's registers: 2, 4, 8 */
	struct kvml_mmio mmio;
};

struct kvml_msrs {
	u64 star, lstar, cstar, fmask, tsc_aux;
	u64 kernel_gs_base;	/* while not loaded */
	u64 tsc_adjust, mcg_status, xfd_err;
	u64 mtrr_default;
	u64 mtrr_fixed[11];
	u64 mtrr_variable[16];
	u64 mcg_control;
	u64 mc[KVML_MC_REGISTERS];
};

/* What the processor holds while a vCPU is loaded, and held for the host before. */
struct kvml_host_state {
	u64 kernel_gs_base;
	u64 tsc_aux;
	u64 xcr0;
	unsigned long cr3, cr4, fs_base;	/* as the VMCS has them */
	u16 fs, gs, ds, es, ldt;
};

/* Bits of kvml_vcpu.requests; any thread sets them and kicks. */
enum kvml_request {
	KVML_REQUEST_NMI,
	KVML_REQUEST_INIT,
	KVML_REQUEST_STARTUP,
	KVML_REQUEST_TIMER,	/* the LAPIC's may be over */
};

struct kvml_vcpu {
	struct kvml_vm *vm;
	struct file *vm_file;
	u32 id;
	struct mutex lock;
	struct kvm_run *run;	/* shared with user space, which may write it at any time */
	void *pio;		/* the page behind it */
	unsigned long regs[16];	/* RAX..R15 in instruction encoding; RSP lives in the VMCS */

	/* VMCS; the list entry is guarded by its being on that CPU with interrupts off. */
	u32 *vmcs;
	int vmcs_cpu;		/* where it is loaded, or -1 */
	struct list_head vmcs_entry;
	bool launched;
	u16 vpid;		/* 0 is the host; EPTPs tell vCPUs of different VMs apart */
	u64 ept_generation;	/* of the last INVEPT on vmcs_cpu */
	unsigned long timer_ticks;	/* VMX-preemption timer, as in the VMCS */
	u64 next_gfn;		/* behind what the last EPT fault mapped */
	u64 *spare_table;	/* zeroed, for the next EPT fault that lacks one; or null */
	bool flush_vpid;
	struct kvml_host_state host;
	struct preempt_notifier preempt;

	/* From before the last look at requests until after the exit, else -1; any thread reads. */
	int running_cpu;
	unsigned long requests;	/* atomic bits; any thread */
	wait_queue_head_t wait;
	int mp_state;

	struct kvml_events events;
	struct kvml_io io;
	u64 cr2;		/* the guest's, while it does not run */
	u64 xcr0;
	u32 pkru;		/* likewise */
	u64 dr[8];		/* 4 and 5 are other names of 6 and 7 */
	u64 tsc_offset;
	struct kvml_msrs msr;
	struct fpu_guest fpu;
	sigset_t sigset;
	bool sigset_active;

	struct kvm_cpuid_entry2 *cpuid;
	u32 cpuid_count;
	/* What that leaves: bits the guest may not set, and the width of its addresses. */
	u64 cr4_reserved, efer_reserved, xcr0_reserved, apic_base_reserved;
	u8 physical_bits;

	struct kvml_lapic lapic;
	struct kvml_vcpu_clock clock;
};

#include "vmx.h"

/* How handling an exit ends, if not with a negative errno, which KVM_RUN then fails with. */
enum kvml_next {
	KVML_TO_USER,		/* kvm_run says why */
	KVML_RESUME,		/* back into the guest */
};

static inline int kvml_to_user(struct kvml_vcpu *vcpu, u32 reason)
{
	vcpu->run->exit_reason = reason;
	return KVML_TO_USER;
}

/* ----- vm.c ----- */
int kvml_vm_create(void);
int kvml_check_extension(unsigned long capability);

/* ----- memslot.c; the first two with vm->lock held ----- */
int kvml_set_memory_region(struct kvml_vm *vm, const struct kvm_userspace_memory_region *region);
int kvml_get_dirty_log(struct kvml_vm *vm, const struct kvm_dirty_log *log);
/* The slot of @gpa, or null, also if @write is not allowed there; slots_lock held. */
struct kvml_memslot *kvml_find_slot(struct kvml_vm *vm, u64 gpa, bool write);
/* Where the process has @gpa, which is in the slot. */
void __user *kvml_locate(const struct kvml_memslot *slot, u64 gpa);
/* As kvml_read_guest(), which guest_walk.h declares, and kvml_replace_guest(). */
int kvml_write_guest(struct kvml_vm *vm, u64 gpa, const void *data, u32 size);

/* ----- ept.c ----- */
/*
 * Makes @gpa accessible; @violation qualifies the exit. 0; -ENOENT: no slot there (MMIO), or a write
 * to read-only memory; -EFAULT: user space has no such page; -EINTR: a signal came first.
 */
int kvml_ept_fault(struct kvml_vcpu *vcpu, u64 gpa, u64 violation);
/*
 * Changes all entries of [gfn, gfn + pages), which no vCPU uses as they were when it returns; a fault
 * that looked at something before starts over. ept.lock held.
 */
void kvml_ept_change(struct kvml_vm *vm, u64 gfn, u64 pages, enum kvml_ept_change change);

/* ----- vcpu.c ----- */
/* vm->lock held. */
int kvml_vcpu_create(struct file *vm_file, unsigned long id);
void kvml_vcpu_free(struct kvml_vcpu *vcpu);
/* Puts the vCPU's state into the processor; preemption keeps it there. */
void kvml_vcpu_load(struct kvml_vcpu *vcpu);
void kvml_vcpu_put(struct kvml_vcpu *vcpu);
/* Makes the vCPU look at its requests and LAPIC: wakes it or brings it out. Any context. */
void kvml_vcpu_kick(struct kvml_vcpu *vcpu);

/* ----- vcpu_ioctl.c ----- */
long kvml_vcpu_ioctl(struct file *file, unsigned int command, unsigned long argument);

/* ----- run.c ----- */
int kvml_vcpu_run(struct kvml_vcpu *vcpu);
/* Does what other threads asked for; loaded. */
void kvml_accept_requests(struct kvml_vcpu *vcpu);

/* ----- regs.c; loaded ----- */
/* @sregs is zero. */
void kvml_get_sregs(struct kvml_vcpu *vcpu, struct kvm_sregs *sregs);
int kvml_set_sregs(struct kvml_vcpu *vcpu, const struct kvm_sregs *sregs);
/* Reserved bits become what they are always. */
void kvml_set_dr(struct kvml_vcpu *vcpu, u32 number, u64 value);
u64 kvml_reg(struct kvml_vcpu *vcpu, u32 index);
void kvml_set_reg(struct kvml_vcpu *vcpu, u32 index, u64 value);
u64 kvml_cr0(void);
u64 kvml_cr4(void);
/* -EINVAL: the guest gets #GP. */
int kvml_set_cr0(struct kvml_vcpu *vcpu, u64 value);
int kvml_set_cr4(struct kvml_vcpu *vcpu, u64 value);
int kvml_set_efer(struct kvml_vcpu *vcpu, u64 value);
int kvml_set_xcr0(struct kvml_vcpu *vcpu, u64 value);
bool kvml_in_64bit_code(void);
u32 kvml_cpl(void);
/* INIT. */
void kvml_vcpu_init(struct kvml_vcpu *vcpu);

/* ----- msr.c; loaded ----- */
int kvml_get_msr(struct kvml_vcpu *vcpu, u32 index, u64 *value);
/* @host: user space does it, and may do more. -EINVAL: the guest gets #GP. */
int kvml_set_msr(struct kvml_vcpu *vcpu, u32 index, u64 value, bool host);
int kvml_msr_list(struct kvm_msr_list __user *user);
int kvml_msr_transfer(struct kvml_vcpu *vcpu, struct kvm_msrs __user *user, bool write);

/* ----- cpuid.c ----- */
int kvml_supported_cpuid(struct kvm_cpuid2 __user *user);
int kvml_set_cpuid(struct kvml_vcpu *vcpu, struct kvm_cpuid2 __user *user);
int kvml_get_cpuid(struct kvml_vcpu *vcpu, struct kvm_cpuid2 __user *user);
/* The instruction: RAX and RCX ask, RAX to RBX answer, with zeros if there is no such leaf. */
void kvml_cpuid(struct kvml_vcpu *vcpu);
/* What the host has; and without what needs a permission that the process does not have (tiles). */
u64 kvml_offered_xcr0(void);
u64 kvml_supported_xcr0(void);

/* ----- exit.c, io.c; what handles exits gives an enum kvml_next or a negative errno ----- */
int kvml_handle_exit(struct kvml_vcpu *vcpu, u32 reason);
int kvml_handle_port(struct kvml_vcpu *vcpu);
int kvml_handle_ept_violation(struct kvml_vcpu *vcpu);
/* After a fault of an IRET that had @unblocked NMIs already: it will happen again. */
void kvml_restore_nmi_blocking(bool unblocked);
int kvml_internal_error(struct kvml_vcpu *vcpu, u32 suberror, u64 data);
/* Finishes what the last exit to user space began. 0 or -EFAULT. */
int kvml_complete_io(struct kvml_vcpu *vcpu);
/* An address or operand as the guest's code has it: outside 64-bit code it has 32 bits. */
u64 kvml_truncate(u64 value);
/* Goes on behind an instruction of that length, and ends what STI and MOV SS before it blocked. */
void kvml_advance_rip(struct kvml_vcpu *vcpu, u32 length);

/* Not after EPT violations, which report no length. */
static inline void kvml_skip_instruction(struct kvml_vcpu *vcpu)
{
	kvml_advance_rip(vcpu, vmread(VM_EXIT_INSTRUCTION_LEN));
}

/* ----- inject.c ----- */
/* @error: 0 for exceptions that have none. Ends as handling an exit does. */
int kvml_inject_exception(struct kvml_vcpu *vcpu, u8 vector, u32 error);
/* Before entry, interrupts off: hands the next event to the processor, opens windows. */
void kvml_inject_pending(struct kvml_vcpu *vcpu);
/*
 * What was being delivered when the guest left, or what an entry that failed was to deliver, is to be
 * delivered again: @info is VMX's interruption information, an error code is in that field.
 */
void kvml_recover_event(struct kvml_vcpu *vcpu, u32 info, u32 error_field);
/* Would something wake the vCPU from HLT? */
bool kvml_has_wakeup(struct kvml_vcpu *vcpu);
bool kvml_interrupt_allowed(void);

#endif /* KVML_INTERNAL_H */
