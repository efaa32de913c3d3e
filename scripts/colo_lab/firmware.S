# The lab's guest: a 64 KiB firmware image that dirties memory for ever.  Assembled by firmware.py with GNU as.
#
#   RANGE_BEGIN  --defsym: physical address of the first page written, page aligned
#   RANGE_BYTES  --defsym: length of the range in bytes, a multiple of 4096; 0: the guest halts at once
#   ADJUSTABLE   --defsym: 1: where the range ends is read from memory, page by page (below)
#   SELF_CHECK   --defsym: 1: the guest also keeps a pattern and looks whether it finds what it wrote (below)
#
# Each sweep writes its own number (1, 2, 3, ...) into the first word of every page of the range.  So the word at
# RANGE_BEGIN is the number of the sweep that is under way, and at any stopped moment a page holds either that number or
# the one before it.  No other memory is written: there is no stack and no data.
#
# With SELF_CHECK the second word of every page is the page's address with PATTERN_MASK flipped, written once; before a
# page is overwritten, both its words must be what was written last.  If not, the guest leaves the page's address at
# FAULT_ADDRESS (0 until then) and halts.  So as long as the sweeps go on, no write was lost and none came from elsewhere,
# on whichever host the guest runs by now; and the registers of the vCPU have survived as well.
#
# With ADJUSTABLE the guest leaves the end of its range at END_ADDRESS and goes by what it finds there from then on: who
# writes a lower one (never above the first, always above RANGE_BEGIN) makes it dirty less.
#
# Only the first vCPU ever gets here; the others wait for a SIPI that never comes.

        .set    CODE_SELECTOR, 8
        .set    DATA_SELECTOR, 16
        .set    PAGE_BYTES, 4096
        .set    PATTERN_MASK, 0x5a5a5a5a
        .set    FAULT_ADDRESS, 0x7000
        .set    END_ADDRESS, 0x7004

        .text
        .globl  _start
image:
        # The table stays in ROM, so the processor cannot set the accessed bits (the 1 in 9b and 93): they are set
        # already, or loading a segment would fault.
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # flat 4 GiB, 32-bit code
        .quad   0x00cf93000000ffff      # flat 4 GiB, data
gdt_end:
gdt_register:
        .word   gdt_end - gdt - 1
        .long   gdt

        .code16
real_mode:
        cli
        lgdtl   %cs:(gdt_register - image)
        movl    $0x11, %eax             # PE and ET; clears the cache-disable bits that reset sets
        movl    %eax, %cr0
        ljmpl   $CODE_SELECTOR, $protected_mode

        .code32
protected_mode:
        movw    $DATA_SELECTOR, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %fs
        movw    %ax, %gs
        movw    %ax, %ss
        xorl    %eax, %eax              # eax: the number of the sweep
        .if     RANGE_BYTES
        movl    $PAGE_BYTES, %edx
        .if     SELF_CHECK
        movl    %eax, FAULT_ADDRESS
        movl    $RANGE_BEGIN, %edi
        movl    $(RANGE_BYTES / PAGE_BYTES), %ecx
lay:
        movl    %edi, %ebx
        xorl    $PATTERN_MASK, %ebx
        movl    %ebx, 4(%edi)
        movl    %eax, (%edi)
        addl    %edx, %edi
        loop    lay
        .endif
        .if     ADJUSTABLE
        movl    $(RANGE_BEGIN + RANGE_BYTES), %ebx
        movl    %ebx, END_ADDRESS
        .endif
sweep:
        movl    %eax, %ebp              # ebp: what the last sweep has written
        incl    %eax
        movl    $RANGE_BEGIN, %edi
        movl    $(RANGE_BYTES / PAGE_BYTES), %ecx
page:
        .if     SELF_CHECK
        movl    4(%edi), %ebx
        xorl    $PATTERN_MASK, %ebx
        cmpl    %edi, %ebx
        jne     fault
        cmpl    %ebp, (%edi)
        jne     fault
        .endif
        movl    %eax, (%edi)
        addl    %edx, %edi
        .if     ADJUSTABLE
        cmpl    END_ADDRESS, %edi
        jae     sweep
        .endif
        loop    page                    # three instructions a page: nested KVM may have to emulate each of them
        jmp     sweep
fault:
        movl    %edi, FAULT_ADDRESS
        .endif
halt:
        hlt
        jmp     halt

        .org    0xfff0
        .code16
_start:
        jmp     real_mode               # the reset vector, f000:fff0
        .org    0x10000
