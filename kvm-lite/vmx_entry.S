/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
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
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rdi

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
	mov	8*8(%rax), %r8
	mov	9*8(%rax), %r9
	mov	10*8(%rax), %r10
	mov	11*8(%rax), %r11
	mov	12*8(%rax), %r12
	mov	13*8(%rax), %r13
	mov	14*8(%rax), %r14
	mov	15*8(%rax), %r15
	mov	(%rax), %rax
	/* MDS and its relatives: nothing of the host is left in the buffers. */
	CLEAR_CPU_BUFFERS
	jnc	.Llaunch
	vmresume
	jmp	.Lfailed
.Llaunch:
	vmlaunch
	jmp	.Lfailed

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
	mov	%r8, 8*8(%rax)
	mov	%r9, 9*8(%rax)
	mov	%r10, 10*8(%rax)
	mov	%r11, 11*8(%rax)
	mov	%r12, 12*8(%rax)
	mov	%r13, 13*8(%rax)
	mov	%r14, 14*8(%rax)
	mov	%r15, 15*8(%rax)
	pop	(%rax)
	xor	%eax, %eax

.Lclean:
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%ebx, %ebx
	xor	%ebp, %ebp
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	/* Return addresses that the guest put into the RSB are gone before the first RET. */
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT,\
			   X86_FEATURE_RSB_VMEXIT_LITE
#ifdef CLEAR_BRANCH_HISTORY_VMEXIT
	push	%rax
	CLEAR_BRANCH_HISTORY_VMEXIT
	pop	%rax
#endif
	add	$8, %rsp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET

.Lfailed:
	mov	$1, %eax
	jmp	.Lclean
SYM_FUNC_END(kvml_vmx_enter)
