# A boot sector that tells which PCI functions its machine really has.
#
# It walks buses 0 to LAST_BUS through configuration mechanism #1 (ports
# 0xcf8 and 0xcfc) and writes one line a function on COM1,
#
#     bb:dd.f vvvv:dddd cccc
#
# (address, vendor and device, class; all hexadecimal), then "END", and
# then sleeps.  Built with -DPOWER_BUTTON it switches the machine off when
# the ACPI power button is pressed; without, only force stops it.
#
# Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 and 6.2.1; ACPI 6.5,
# 4.8.3.1 and 4.8.3.2; SeaBIOS puts the ICH9's power registers at 0x600.

        .intel_syntax noprefix
        .code16

        .set    LAST_BUS, 15
        .set    COM1, 0x3f8
        .set    PM1_STATUS, 0x600
        .set    PM1_ENABLE, 0x602
        .set    PM1_CONTROL, 0x604
        .set    POWER_BUTTON_BIT, 0x100
        .set    SLEEP_ENABLE, 0x2000    # with sleep type 0, QEMU's "off"

        .globl  _start
_start: xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     ebx, 0x80000000         # enable | bus | devfn | register

scan:   xor     al, al
        call    read_config
        cmp     ax, 0xffff
        je      absent
        call    put_function
        test    bh, 7
        jnz     next
        mov     al, 0x0c
        call    read_config
        test    eax, 0x800000           # header type: multifunction
        jnz     next
skip:   or      bh, 7                   # no other function: next device
next:   add     ebx, 0x100
        cmp     ebx, 0x80000000 + ((LAST_BUS + 1) << 16)
        jb      scan
        mov     si, offset end_line
        call    put_text

#ifdef POWER_BUTTON
        mov     dx, PM1_ENABLE
        mov     ax, POWER_BUTTON_BIT
        out     dx, ax
sleep:  sti
        hlt                             # the BIOS's timer wakes it
        mov     dx, PM1_STATUS
        in      ax, dx
        test    ax, POWER_BUTTON_BIT
        jz      sleep
        mov     dx, PM1_CONTROL
        mov     ax, SLEEP_ENABLE
        out     dx, ax
#else
sleep:  sti
        hlt
#endif
        jmp     sleep

absent: test    bh, 7
        jz      skip
        jmp     next

# eax = the dword of register al of the function in ebx
read_config:
        mov     bl, al
        mov     eax, ebx
        xor     bl, bl
        mov     dx, 0xcf8
        out     dx, eax
        mov     dx, 0xcfc
        in      eax, dx
        ret

# eax = vendor and device of the function in ebx
put_function:
        push    eax
        mov     eax, ebx
        shr     eax, 16
        call    put_byte
        mov     al, ':'
        call    put
        mov     al, bh
        shr     al, 3
        call    put_byte
        mov     al, '.'
        call    put
        mov     al, bh
        and     al, 7
        call    put_digit
        mov     al, ' '
        call    put
        pop     eax
        call    put_word
        push    eax
        mov     al, ':'
        call    put
        pop     eax
        shr     eax, 16
        call    put_word
        mov     al, ' '
        call    put
        mov     al, 0x08
        call    read_config
        shr     eax, 16
        call    put_word
        mov     al, '\n'
        jmp     put

put_word:                               # keeps eax
        push    eax
        mov     al, ah
        call    put_byte
        pop     eax
put_byte:
        push    eax
        shr     al, 4
        call    put_digit
        pop     eax
put_digit:
        push    eax
        and     al, 0x0f
        cmp     al, 10
        jb      1f
        add     al, 'a' - '0' - 10
1:      add     al, '0'
        call    put
        pop     eax
        ret

put:    push    ax
        mov     dx, COM1 + 5
1:      in      al, dx
        test    al, 0x20                # transmitter empty
        jz      1b
        pop     ax
        mov     dx, COM1
        out     dx, al
        ret

put_text:
        lodsb
        test    al, al
        jz      1f
        call    put
        jmp     put_text
1:      ret

end_line:
        .asciz  "END\n"

        .org    510
        .word   0xaa55
