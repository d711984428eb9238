; orders on COM1 in -> disk traffic, port writes and clock changes out: a guest without an operating system.
;
;   nasm -f bin -o guest.bin guest.asm          (guest.bin is committed: running it needs no assembler)
;
; SeaBIOS loads these 512 bytes from the first sector of the boot disk to 0x7c00. The guest says `R` (ready) when it
; starts, after every reset too; then it obeys one order at a time. An order is a letter and its operands, little endian:
;
;   d  function.b drive.b sector.b count.w   int 13h, count times: function 2 reads, 3 writes; drive 0x80 is the boot disk,
;                                            0x81 the second one; sectors of the first track count from 1 (LBA 0) to 63
;   o  port.w value.b                        writes a byte to a port
;   O  port.w value.w                        writes a word to a port
;   L  port.w value.l                        writes a long to a port
;   p  address.w value.b                     writes a byte to memory, at that distance from PAGES
;   m                                        flips the lowest bit of the clock's minutes: 60 s on or back
;
; Every order has one answer: `.` done, `!` a disk function failed at least once, `?` no such letter.
; A port write answers before it writes, since a write that resets or ends the machine could not answer after it.

        org 0x7c00
        bits 16

COM1    equ 0x3f8                       ; data; +1 interrupt enable, +4 modem control, +5 line status
PIC     equ 0x21                        ; mask of the first interrupt controller
CMOS    equ 0x70                        ; index; +1 data
MINUTES equ 0x02                        ; BCD, so flipping bit 0 gives a valid minute
BUFFER  equ 0x8000                      ; one sector, never cleared: what is in it does not matter
PAGES   equ 0x20000                     ; for the queues of devices; the firmware leaves it zero

start:
        jmp 0:.here                     ; some firmware enters at 0x07c0:0000
.here:
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        cld

        ; A received byte interrupts, so the guest sleeps until one comes; the firmware's default handler only acknowledges.
        mov dx, COM1 + 1
        mov al, 1
        out dx, al
        mov dx, COM1 + 4
        mov al, 0x08                    ; OUT2 connects the UART to the interrupt controller
        out dx, al
        in al, PIC
        and al, 0xef                    ; IRQ 4
        out PIC, al

        mov al, 'R'
answer:
        call put
order:
        call get
        cmp al, 'd'
        je disk
        cmp al, 'o'
        je port_byte
        cmp al, 'O'
        je port_word
        cmp al, 'L'
        je port_long
        cmp al, 'p'
        je poke
        cmp al, 'm'
        je minutes
        mov al, '?'
        jmp answer

disk:
        call get
        mov [function], al
        call get
        mov [drive], al
        call get
        mov [sector], al
        call get_word
        mov [count], ax
        mov byte [result], '.'
.again:
        mov ah, [function]
        mov al, 1                       ; sector
        xor ch, ch                      ; cylinder
        mov cl, [sector]
        xor dh, dh                      ; head
        mov dl, [drive]
        mov bx, BUFFER
        int 0x13
        jnc .next
        mov byte [result], '!'
.next:
        dec word [count]
        jnz .again
        mov al, [result]
        jmp answer

port_byte:
        call get_word
        mov bx, ax
        call get
        mov cl, al
        mov al, '.'
        call put
        mov al, cl
        mov dx, bx
        out dx, al
        jmp order

port_word:
        call get_word
        mov bx, ax
        call get_word
        mov cx, ax
        mov al, '.'
        call put
        mov ax, cx
        mov dx, bx
        out dx, ax
        jmp order

port_long:
        call get_word
        mov bx, ax
        call get_word
        mov cx, ax
        call get_word
        mov di, ax
        mov al, '.'
        call put
        mov ax, di
        shl eax, 16
        mov ax, cx
        mov dx, bx
        out dx, eax
        jmp order

poke:
        call get_word
        mov bx, ax
        call get
        push PAGES >> 4
        pop fs
        mov [fs:bx], al
        mov al, '.'
        jmp answer

minutes:
        cli                             ; the firmware's handlers use the clock's index too
        mov al, MINUTES
        out CMOS, al
        in al, CMOS + 1
        xor al, 1
        mov ah, al
        mov al, MINUTES
        out CMOS, al
        mov al, ah
        out CMOS + 1, al
        mov al, '.'
        jmp answer

; -> al: the next byte from COM1. Costs dx. An idle guest wakes 18 times a second, for the firmware's timer.
get:
        cli
        mov dx, COM1 + 5
        in al, dx
        test al, 1
        jnz .ready
        sti                             ; holds interrupts off until after hlt: a byte that comes now still wakes it
        hlt
        jmp get
.ready:
        sti
        mov dx, COM1
        in al, dx
        ret

; -> ax: the next word from COM1. Costs dx and si.
get_word:
        call get
        xor ah, ah
        mov si, ax
        call get
        mov ah, al
        xor al, al
        or ax, si
        ret

; al -> COM1. Costs dx and ah.
put:
        mov ah, al
        mov dx, COM1 + 5
.wait:
        in al, dx
        test al, 0x20                   ; the transmitter is empty
        jz .wait
        mov al, ah
        mov dx, COM1
        out dx, al
        ret

function db 0
drive    db 0
sector   db 0
result   db 0
count    dw 0

        times 510 - ($ - $$) db 0
        dw 0xaa55
