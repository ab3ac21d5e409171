/* /init of the initrd in the control boot: no filter of system calls, and process 1 keeps all its capabilities.
 *
 * It stands in the place of image/mkosi/initrd/init.c. systemd reads its configuration twice, in the initrd and in the
 * root, and moves /run along; so what is written there holds in both.
 */

#include <asm/fcntl.h>
#include <sys/syscall.h>

#define NEXT "/usr/lib/systemd/systemd"
#define FOLDER "/run/systemd/system.conf.d"

static const char configuration[] = "[Manager]\nCapabilityBoundingSet=~\n";

static long system_call(long number, long first, long second, long third, long fourth, long fifth)
{
	register long r10 __asm__("r10") = fourth;
	register long r8 __asm__("r8") = fifth;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

/* The stack at the start of a program: argc, argv, 0, environment, 0 (System V ABI, AMD64, 3.4.1). */
__attribute__((used, noreturn)) static void start(long *stack)
{
	long argc = stack[0];
	long argv = (long)(stack + 1);
	long environment = (long)(stack + 1 + argc + 1);
	long file;

	system_call(SYS_mkdir, (long)"/run", 0755, 0, 0, 0);
	system_call(SYS_mount, (long)"tmpfs", (long)"/run", (long)"tmpfs", 0, (long)"mode=0755");
	system_call(SYS_mkdir, (long)"/run/systemd", 0755, 0, 0, 0);
	system_call(SYS_mkdir, (long)FOLDER, 0755, 0, 0, 0);
	file = system_call(SYS_open, (long)FOLDER "/99-disarmed.conf", O_WRONLY | O_CREAT, 0644, 0, 0);
	system_call(SYS_write, file, (long)configuration, sizeof configuration - 1, 0, 0);
	system_call(SYS_close, file, 0, 0, 0, 0);
	system_call(SYS_execve, (long)NEXT, argv, environment, 0, 0);
	for (;;)
		system_call(SYS_exit_group, 1, 0, 0, 0, 0);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");
