/* The shortest guest: its first instructions write a line to COM1. It stays in the 32-bit state PVH
   starts in, so that what is measured is the monitor and not a guest that sets itself up. Then it
   follows its command line: "stay" halts for ever, anything else resets the machine. */
  .section .text.entry, "ax"
  .code32
  .globl pvh_entry
pvh_entry:
  movw $0x3f8, %dx
  movb $'!', %al
  outb %al, %dx
  movb $'\n', %al
  outb %al, %dx
  movl 24(%ebx), %esi           /* hvm_start_info.cmdline_paddr */
  cmpl $0x79617473, (%esi)      /* "stay" */
  je 1f
  movb $0xfe, %al
  outb %al, $0x64
1:
  cli
  hlt
  jmp 1b

  .section .note.pvh, "a", @note
  .align 4
  .long 4, 4, 18                /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
  .asciz "Xen"
  .long pvh_entry
  .section .note.GNU-stack, "", @progbits
