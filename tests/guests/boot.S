// Entry of a tiny guest: from the PVH entry point (32-bit, paging off, %ebx = start info) to main()
// at privilege level 3 in long mode.
//
// Why level 3: on a host whose KVM runs without hardware virtualisation, level 0 is emulated
// instruction by instruction, while level 3 runs natively. So as little as possible happens here:
// tables are static data, and main() fills the IDT itself. The task's I/O bitmap opens every port.
// An invalid opcode whose %rax is kCallMagic is how level 3 calls a function at level 0 (%rdi).

#define CODE0 0x08
#define DATA0 0x10
#define DATA3 (0x18 | 3)
#define CODE3 (0x20 | 3)
#define TASK  0x28
#define IO_BITMAP_BYTES 8192
#define TASK_BYTES (104 + IO_BITMAP_BYTES + 1)
#define CALL_MAGIC 0x6d6f7465

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18                  // Name and value lengths, XEN_ELFNOTE_PHYS32_ENTRY.
    .asciz "Xen"
    .long pvh_entry

    .section .text.entry, "ax"
    .code32
    .global pvh_entry
pvh_entry:
    mov %ebx, start_info_address
    mov $page_map, %eax
    mov %eax, %cr3
    mov $0x620, %eax                // PAE, OSFXSR, OSXMMEXCPT.
    mov %eax, %cr4
    mov $0xc0000080, %ecx           // EFER
    mov $0x100, %eax                // LME
    xor %edx, %edx
    wrmsr
    mov $0x80000011, %eax           // PG, ET, PE.
    mov %eax, %cr0
    mov $task, %eax                 // The assembler cannot split an address over a descriptor.
    mov %ax, gdt + TASK + 2
    shr $16, %eax
    mov %al, gdt + TASK + 4
    mov %ah, gdt + TASK + 7
    lgdt gdt_pointer
    ljmp $CODE0, $long_mode

    .code64
long_mode:
    mov $DATA0, %eax
    mov %eax, %ss
    mov $DATA3, %eax
    mov %eax, %ds
    mov %eax, %es
    lidt idt_pointer
    mov $TASK, %eax
    ltr %ax
    mov $kernel_stack_top, %esp
    push $DATA3
    push $user_stack_top - 8        // As if main() had been called.
    push $0x202                     // Interrupts on.
    push $CODE3
    push $main
    iretq

    .text
// Exceptions: vector and error code onto the stack, then one path.
    .altmacro
    .macro exception_stub vector
exception_\vector:
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21)
    .else
    push $0
    .endif
    push $\vector
    jmp exception_common
    .endm
    .set vector_number, 0
    .rept 32
    exception_stub %vector_number
    .set vector_number, vector_number + 1
    .endr

exception_common:
    cmpl $6, (%rsp)
    jne 1f
    cmp $CALL_MAGIC, %eax
    jne 1f
    call *%rdi                      // A call from level 3; all registers a C call may spoil are dead.
    add $16, %rsp
    addq $2, (%rsp)                 // Behind the ud2.
    iretq
1:  pop %rdi                        // Vector, error code, instruction pointer.
    pop %rsi
    mov (%rsp), %rdx
    call report_exception

// Interrupts of the 24 IOAPIC pins: count, acknowledge at the local APIC, return.
    .macro interrupt_stub pin
interrupt_\pin:
    incl interrupt_counts + 4 * \pin
    jmp interrupt_common
    .endm
    .set pin_number, 0
    .rept 24
    interrupt_stub %pin_number
    .set pin_number, pin_number + 1
    .endr

interrupt_common:
    push %rax
    mov $0xfee000b0, %eax           // Local APIC: EOI.
    movl $0, (%rax)
    pop %rax
    iretq

// void call_kernel(void (*function)(void)): runs it at level 0.
    .global call_kernel
call_kernel:
    mov $CALL_MAGIC, %eax
    ud2
    ret

// What an application processor runs after SIPI, in real mode: counts itself, then sleeps. Copied
// to a page below 1 MiB; the counter is the last word of that page.
    .global processor_entry, processor_entry_end
    .code16
processor_entry:
    lock incw %cs:0xffe
1:  cli
    hlt
    jmp 1b
processor_entry_end:
    .code64

    .section .rodata
    .align 8
    .global exception_stubs, interrupt_stubs
    .macro address_of name, number
    .quad \name\number
    .endm
exception_stubs:
    .set vector_number, 0
    .rept 32
    address_of exception_, %vector_number
    .set vector_number, vector_number + 1
    .endr
interrupt_stubs:
    .set pin_number, 0
    .rept 24
    address_of interrupt_, %pin_number
    .set pin_number, pin_number + 1
    .endr

// Identity map of the first GiB (RAM) and of the last below 4 GiB (MMIO), open to level 3.
    .section .data.page_tables, "aw"
    .align 4096
page_map:
    .quad page_directory_pointers + 7
    .zero 4088
page_directory_pointers:
    .quad ram_directory + 7, 0, 0, mmio_directory + 7
    .zero 4064
ram_directory:
    .set page, 0
    .rept 512
    .quad page | 0x87               // Present, writable, user, 2 MiB.
    .set page, page + 0x200000
    .endr
mmio_directory:
    .set page, 0xc0000000
    .rept 512
    .quad page | 0x97               // And not cached.
    .set page, page + 0x200000
    .endr

    .data
    .align 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        // 64-bit code, level 0.
    .quad 0x00cf93000000ffff        // Data, level 0.
    .quad 0x00cff3000000ffff        // Data, level 3.
    .quad 0x00affb000000ffff        // 64-bit code, level 3.
    .quad 0x0000890000000000 | (TASK_BYTES - 1)
    .quad 0
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
idt_pointer:
    .word 256 * 16 - 1
    .quad idt
    .align 8
    .global start_info_address
start_info_address:
    .quad 0

    .align 16
task:
    .long 0
    .quad kernel_stack_top          // RSP0
    .zero 90
    .word 104                       // Offset of the I/O bitmap.
    .zero IO_BITMAP_BYTES
    .byte 0xff

    .bss
    .align 16
    .global idt, interrupt_counts
idt:
    .zero 256 * 16
interrupt_counts:
    .zero 24 * 4
    .align 16
    .zero 4096
kernel_stack_top:
    .zero 16384
user_stack_top:
    .section .note.GNU-stack, "", @progbits
