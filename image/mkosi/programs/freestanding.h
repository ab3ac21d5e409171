/* What a program without a C library begins with: its first instruction, and the way into the kernel. x86-64 alone. */

#ifndef SEALWRIGHT_FREESTANDING_H
#define SEALWRIGHT_FREESTANDING_H

#include <sys/syscall.h>

/* What comes behind the fourth argument is 0. */
static inline long system_call(long number, long first, long second, long third, long fourth)
{
	register long r10 __asm__("r10") = fourth;
	register long r8 __asm__("r8") = 0;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn)) static inline void leave(long status)
{
	for (;;)
		system_call(SYS_exit_group, status, 0, 0, 0);
}

/* The stack at the start of a program: argc, argv, 0, environment, 0 (System V ABI, AMD64, 3.4.1). */
__attribute__((used, noreturn)) static void start(long *stack);

static inline long environment_of(long *stack)
{
	return (long)(stack + 1 + stack[0] + 1);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");

#endif
