/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/unwind_hints.h>

/* VMCS field, SDM volume 3, appendix "Field Encoding in VMCS". */
#define HOST_RSP_FIELD	0x6c14

.section .text, "ax"

/*
 * int kvml_vmx_enter(unsigned long *regs, unsigned long launched)
 *
 * regs[] is in the order of instruction encoding: RAX RCX RDX RBX (RSP) RBP RSI RDI R8..R15. No
 * register of the guest stays in the processor afterwards: what it left there must not steer the
 * host's speculation.
 */
SYM_FUNC_START(kvml_vmx_enter)
	push	%rbp
	mov	%rsp, %rbp
	.irp r, r15, r14, r13, r12, rbx, rdi
	push	%\r
	.endr

	mov	$HOST_RSP_FIELD, %edx
	vmwrite	%rsp, %rdx
	/* The exit finds the stack as it is here. */
	UNWIND_HINT_SAVE
	/* CF survives all that follows: MOV leaves flags alone and VERW changes ZF only. */
	bt	$0, %esi
	mov	%rdi, %rax
	mov	1*8(%rax), %rcx
	mov	2*8(%rax), %rdx
	mov	3*8(%rax), %rbx
	mov	5*8(%rax), %rbp
	mov	6*8(%rax), %rsi
	mov	7*8(%rax), %rdi
	.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	\n*8(%rax), %r\n
	.endr
	mov	(%rax), %rax
	/* MDS and its relatives: nothing of the host is left in the buffers. */
	CLEAR_CPU_BUFFERS
	jnc	.Llaunch
	vmresume
	jmp	.Lfailed
.Llaunch:
	vmlaunch
.Lfailed:
	mov	$1, %ebx
	jmp	.Lclean

SYM_INNER_LABEL(kvml_vmx_exit_point, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR
	push	%rax
	mov	8(%rsp), %rax
	mov	%rcx, 1*8(%rax)
	mov	%rdx, 2*8(%rax)
	mov	%rbx, 3*8(%rax)
	mov	%rbp, 5*8(%rax)
	mov	%rsi, 6*8(%rax)
	mov	%rdi, 7*8(%rax)
	.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	%r\n, \n*8(%rax)
	.endr
	pop	(%rax)
	xor	%ebx, %ebx

.Lclean:
	.irp r, eax, ecx, edx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor	%\r, %\r
	.endr
	/* Return addresses that the guest put into the RSB are gone before the first RET. */
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT,\
			   X86_FEATURE_RSB_VMEXIT_LITE
	/* IBRS from before eIBRS guards only what comes after it was written once more. */
	ALTERNATIVE "jmp .Lguarded", "", X86_FEATURE_KERNEL_IBRS
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	PER_CPU_VAR(x86_spec_ctrl_current), %rdx
	mov	%edx, %eax
	shr	$32, %rdx
	wrmsr
.Lguarded:
	CLEAR_BRANCH_HISTORY_VMEXIT
	mov	%ebx, %eax
	add	$8, %rsp
	.irp r, rbx, r12, r13, r14, r15, rbp
	pop	%\r
	.endr
	RET
SYM_FUNC_END(kvml_vmx_enter)
