// The guests of kvm-abi: position-independent, loaded at 0x1000, ended by a byte to port 0xf4.
// 64-bit ones find flat segments, 4 GiB mapped one to one, and an interrupt table whose handlers
// write their vector to port 0xf5 (machine.cc). Registers are set by the case that runs them.

.macro GUEST name
  .globl guest_\name
guest_\name:
.endm
.macro END name
  .globl guest_\name\()_end
guest_\name\()_end:
.endm
.macro DONE
  out %al, $0xf4
1:
  hlt
  jmp 1b
.endm
// Clobbers RAX, RCX, RDX.
.macro WRITE_MSR index, low, high=0
  mov $\index, %ecx
  mov $\low, %eax
  mov $\high, %edx
  wrmsr
.endm

.section .rodata
.code16

GUEST real_hlt
  hlt
END real_hlt

GUEST real_ports
  mov $0x1234, %dx
  mov $0x5a, %al
  out %al, %dx
  mov $0xbeef, %ax
  out %ax, %dx
  mov $0xdeadbeef, %eax
  out %eax, %dx
  in %dx, %al
  in %dx, %ax
  in %dx, %eax
  out %eax, %dx
  out %al, $0xf4
END real_ports

GUEST real_strings
  cld
  mov $0x1234, %dx
  mov $0x3000, %si
  mov $5, %cx
  rep outsb
  mov $0x3100, %di
  mov $3, %cx
  rep insw
  out %al, $0xf4
END real_strings

// PAE paging, its four top entries at 0x3000.
GUEST real_pae
  mov $0x3000, %eax
  mov %eax, %cr3
  mov $0x20, %eax
  mov %eax, %cr4
  mov $0x80000011, %eax
  mov %eax, %cr0
  out %al, $0xf4
END real_pae

GUEST real_ins_over_limit
  mov $0xffff, %di
  insw
END real_ins_over_limit

// The first word ends with the segment, the second would begin there.
GUEST real_outs_over_limit
  mov $0xfffd, %si
  mov $2, %cx
  rep outsw %ss:(%si), (%dx)
END real_outs_over_limit

GUEST real_ap
  mov $0x77, %al
  out %al, $0xf4
END real_ap

.code32

GUEST flat_outs
  out %al, $0xf4
  outsb
END flat_outs

GUEST flat_write_cr4
  mov %eax, %cr4
  out %al, $0xf4
END flat_write_cr4

.code64

GUEST long_done
  DONE
END long_done

// Interrupts on: Bochs 2.7 does not interrupt a guest that has them off.
GUEST long_loop
  sti
1:
  jmp 1b
END long_loop

GUEST long_wait
  sti
  DONE
END long_wait

// Interrupts off and on again: the window that a monitor asks for.
GUEST long_window
  cli
  out %al, $0xf4
  sti
1:
  nop
  jmp 1b
END long_window

// LME, LMA and NXE.
GUEST long_write_efer
  WRITE_MSR 0xc0000080, 0xd00
  DONE
END long_write_efer

// RAX on top of what is there.
GUEST long_write_cr4
  mov %cr4, %rcx
  or %rcx, %rax
  mov %rax, %cr4
  DONE
END long_write_cr4

// Memory type 2, which is reserved, as the default of the MTRRs.
GUEST long_write_mtrr
  WRITE_MSR 0x2ff, 0x802
  DONE
END long_write_mtrr

GUEST long_mmio_store
  movb $0x11, (%rdi)
  movw $0x2222, (%rdi)
  movl $0x33333333, (%rdi)
  mov %rax, (%rdi)
  DONE
END long_mmio_store

GUEST long_mmio_load
  mov $-1, %rax
  mov (%rdi), %al
  mov %rax, 0x3000
  mov $-1, %rax
  mov (%rdi), %ax
  mov %rax, 0x3008
  mov $-1, %rax
  mov (%rdi), %eax
  mov %rax, 0x3010
  mov (%rdi), %rax
  mov %rax, 0x3018
  movzbl (%rdi), %eax
  mov %rax, 0x3020
  movsbq (%rdi), %rax
  mov %rax, 0x3028
  movslq (%rdi), %rax
  mov %rax, 0x3030
  DONE
END long_mmio_load

// Data, code and data again in what may be one large page: code at RSI, of store_and_return.
GUEST long_store_call
  mov %eax, (%rdi)
  call *%rsi
  mov %eax, 0x100000(%rdi)
  DONE
END long_store_call

GUEST store_and_return
  mov %eax, 0x3000(%rdi)
  ret
END store_and_return

GUEST long_store
  mov %eax, (%rdi)
  DONE
END long_store

GUEST long_out
  out %eax, %dx
  DONE
END long_out

GUEST long_load
  mov (%rdi), %eax
  DONE
END long_load

GUEST long_strings
  insb
  outsb
  DONE
END long_strings

GUEST long_software_interrupts
  int $0x25
  int3
  int $0x26
  DONE
END long_software_interrupts

// Counts how often it halts.
GUEST long_halts
1:
  inc %rbx
  hlt
  jmp 1b
END long_halts

GUEST long_ud2
  ud2
END long_ud2

GUEST long_divide
  xor %ecx, %ecx
  div %ecx
END long_divide

GUEST long_cpuid
  cpuid
  mov %eax, 0x3000
  mov %ebx, 0x3004
  mov %ecx, 0x3008
  mov %edx, 0x300c
  DONE
END long_cpuid

GUEST long_rdmsr
  rdmsr
  DONE
END long_rdmsr

GUEST long_wrmsr
  wrmsr
  DONE
END long_wrmsr

GUEST long_xmm
  movdqu %xmm3, 0x3000
  pcmpeqd %xmm3, %xmm3
  out %al, $0xf4
  movdqu %xmm3, 0x3010
  DONE
END long_xmm

// PKRU from R9; the byte at RSI, if R8 is not 0 by OUTS first.
GUEST long_keys
  xor %ecx, %ecx
  xor %edx, %edx
  mov %r9d, %eax
  wrpkru
  xor %eax, %eax
  rdpkru
  mov $0x1234, %dx
  out %eax, %dx
  test %r8, %r8
  jz 1f
  outsb
  dec %rsi
1:
  mov (%rsi), %al
  DONE
END long_keys

.macro SET_XCR0
  xor %ecx, %ecx
  xor %edx, %edx
  mov %r8d, %eax
  xsetbv
.endm

// XCR0 from R8; ZMM31 to RDI.
GUEST long_zmm
  SET_XCR0
  .irp index, 0, 1
  mov $0xd, %eax
  mov $\index, %ecx
  cpuid
  mov %ebx, %eax
  mov $0x1234, %dx
  out %eax, %dx
  .endr
  vmovdqu64 %zmm31, (%rdi)
  vpternlogd $0xff, %zmm31, %zmm31, %zmm31
  DONE
END long_zmm

// XCR0 from R8; the configuration at RSI, tile 0 at RDI.
GUEST long_tiles
  SET_XCR0
  mov $0x1234, %dx
  ldtilecfg (%rsi)
  tileloadd (%rdi, %rbx), %tmm0
  out %al, %dx
  tilestored %tmm0, (%rdi, %rbx)
  out %al, %dx
  WRITE_MSR 0x1c4, 0x40000
  tilezero %tmm0
  DONE
END long_tiles

GUEST long_debug_register
  mov %dr3, %rax
  mov %rax, 0x3000
  DONE
END long_debug_register

// One-shot timer by the xAPIC page, vector 0x28.
GUEST long_xapic_timer
  mov $0xfee00000, %ebx
  movl $0x1ff, 0xf0(%rbx)
  movl $0x28, 0x320(%rbx)
  movl $0xb, 0x3e0(%rbx)
  movl $10000, 0x380(%rbx)
  sti
  DONE
END long_xapic_timer

GUEST long_x2apic_periodic
  WRITE_MSR 0x80f, 0x1ff
  WRITE_MSR 0x832, 0x20042
  WRITE_MSR 0x83e, 0xb
  WRITE_MSR 0x838, 1000000
  sti
1:
  hlt
  jmp 1b
END long_x2apic_periodic

// A periodic timer below the task's priority.
GUEST long_held_timer
  WRITE_MSR 0x80f, 0x1ff
  WRITE_MSR 0x808, 0xf0
  WRITE_MSR 0x832, 0x20042
  WRITE_MSR 0x83e, 0xb
  WRITE_MSR 0x838, 1000000
  sti
  hlt
  DONE
END long_held_timer

GUEST long_deadline
  WRITE_MSR 0x80f, 0x1ff
  WRITE_MSR 0x832, 0x40040
  rdtsc
  shl $32, %rdx
  or %rdx, %rax
  add $500000, %rax
  mov %rax, %rdx
  shr $32, %rdx
  mov $0x6e0, %ecx
  wrmsr
  sti
1:
  hlt
  jmp 1b
END long_deadline

GUEST long_priority
  mov %cr8, %rax
  mov %rcx, %cr8
  mov %rdx, %cr8
  mov %cr8, %rbx
  DONE
END long_priority

GUEST long_self_ipi
  WRITE_MSR 0x80f, 0x1ff
  WRITE_MSR 0x83f, 0x41
  sti
1:
  hlt
  jmp 1b
END long_self_ipi

// LAPIC on, ready, then waiting for whatever comes.
GUEST long_x2apic_wait
  WRITE_MSR 0x80f, 0x1ff
  out %al, $0xf4
  sti
1:
  hlt
  jmp 1b
END long_x2apic_wait

GUEST long_start_processor
  WRITE_MSR 0x80f, 0x1ff
  WRITE_MSR 0x830, 0x4500, 1
  WRITE_MSR 0x830, 0x4602, 1
  DONE
END long_start_processor

// For measurements: RCX rounds of one thing, then the end.
GUEST repeat_out
1:
  out %al, $0xf4
  jmp 1b
END repeat_out

GUEST repeat_store
1:
  mov %eax, (%rdi)
  dec %rcx
  jnz 1b
  DONE
END repeat_store

GUEST repeat_cpuid
  mov %rcx, %rsi
1:
  xor %eax, %eax
  cpuid
  dec %rsi
  jnz 1b
  DONE
END repeat_cpuid

// RDX: from one page to the next.
GUEST repeat_page
1:
  mov %eax, (%rdi)
  add %rdx, %rdi
  dec %rcx
  jnz 1b
  DONE
END repeat_page

GUEST repeat_interrupt
  WRITE_MSR 0x80f, 0x1ff
  sti
1:
  out %al, $0xf4
  nop
  jmp 1b
END repeat_interrupt

// One round: 16 words that stay, a page apart, are counted up (RDI); 16 that come and go are written
// (RSI). Then a byte to port 0xf4.
GUEST long_rounds
  sti
1:
  mov $16, %ecx
  mov %rdi, %r8
  mov %rsi, %r9
2:
  incl (%r8)
  mov %ecx, (%r9)
  add $4096, %r8
  add $4096, %r9
  dec %ecx
  jnz 2b
  out %al, $0xf4
  jmp 1b
END long_rounds

.section .note.GNU-stack, "", @progbits
