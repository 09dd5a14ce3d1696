/*
 * An option ROM for Bochs's BIOS that boots a Linux kernel without a disk. Bochs puts a file
 * (make-image) into memory at IMAGE; this finds it, sets the kernel up by the 16-bit boot protocol
 * (Linux Documentation/x86/boot.rst) and jumps to it.
 *
 * Bochs gives out its memory in blocks of 128 KiB in the order in which the guest first touches
 * them, but loads the file into consecutive blocks. So the blocks are touched upward, one after the
 * other: first the padding until the magic word appears, then all of the file.
 */
#define BLOCK		0x20000
#define MAGIC		0x45544f4d	/* "MOTE" */
#define SETUP		0x90000
#define COMMAND_LINE	0x9e000
#define KERNEL		0x100000

	.code16
	.text
	.globl _start
_start:
	.byte	0x55, 0xaa
	.byte	ROM_BYTES / 512
	jmp	boot
	.byte	0
	.org	0x20
boot:
	cli
	cld
	/* Real mode with segments of 4 GiB. */
	xorw	%ax, %ax
	movw	%ax, %ss
	movw	$0x7000, %sp
	movw	%cs, %ax
	movw	%ax, %ds
	movzwl	%ax, %eax
	shll	$4, %eax
	addl	$gdt, %eax
	subw	$8, %sp
	movw	%sp, %bp
	movw	$(gdt_end - gdt - 1), (%bp)
	movl	%eax, 2(%bp)
	lgdtl	(%bp)
	inb	$0x92, %al		/* A20 */
	orb	$2, %al
	outb	%al, $0x92
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	jmp	1f
1:	movw	$8, %bx
	movw	%bx, %es
	movw	%bx, %ds
	movw	%bx, %ss
	andb	$0xfe, %al
	movl	%eax, %cr0
	jmp	2f
2:	xorw	%bx, %bx
	movw	%bx, %es
	movw	%bx, %ds
	movw	%bx, %ss

	movl	$IMAGE, %ebp
3:	cmpl	$MAGIC, (%ebp)
	je	4f
	addl	$BLOCK, %ebp
	jmp	3b
4:	movl	20(%ebp), %ecx		/* blocks of the file */
	movl	%ebp, %esi
5:	movl	(%esi), %eax
	addl	$BLOCK, %esi
	decl	%ecx
	jnz	5b

	/* The kernel's real-mode part, then the rest. */
	movl	%ebp, %edx
	addl	4(%ebp), %edx
	movzbl	0x1f1(%edx), %ecx
	testl	%ecx, %ecx
	jnz	6f
	movb	$4, %cl
6:	incl	%ecx
	shll	$9, %ecx
	movl	%edx, %esi
	movl	$SETUP, %edi
	pushl	%ecx
	shrl	$2, %ecx
	addr32 rep movsl
	popl	%ecx
	movl	8(%ebp), %eax
	subl	%ecx, %eax
	movl	%eax, %ecx
	addl	$3, %ecx
	shrl	$2, %ecx
	movl	$KERNEL, %edi
	addr32 rep movsl

	movl	%ebp, %esi
	addl	$0x100, %esi
	movl	$COMMAND_LINE, %edi
	movl	$0x700, %ecx
	addr32 rep movsb

	movl	$SETUP, %edi
	movb	$0xff, 0x210(%edi)	/* type_of_loader: none of the known ones */
	orb	$0x81, 0x211(%edi)	/* loadflags: LOADED_HIGH, CAN_USE_HEAP */
	movw	$0xde00, 0x224(%edi)	/* heap_end_ptr */
	movl	$COMMAND_LINE, 0x228(%edi)
	movl	12(%ebp), %eax
	addl	%ebp, %eax
	movl	%eax, 0x218(%edi)	/* ramdisk_image */
	movl	16(%ebp), %eax
	movl	%eax, 0x21c(%edi)	/* ramdisk_size */
	movw	$(SETUP >> 4), %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movw	$0xe000, %sp
	ljmp	$((SETUP >> 4) + 0x20), $0

	.balign	8
gdt:	.quad	0
	.word	0xffff, 0
	.byte	0, 0x93, 0xcf, 0
gdt_end:
	.org	ROM_BYTES - 1
	.byte	0
