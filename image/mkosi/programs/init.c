/* /init of the initrd: takes system calls away from every process of the box, then becomes systemd.
 *
 * A seccomp filter is inherited and cannot be lifted, so what process 1 may not call, nobody may, root included. It is
 * the first program that runs; if the filter cannot be set, it ends, and the kernel panics.
 *
 * Static and without a C library: it is measured with the UKI, and the fewer bytes the better.
 */

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "freestanding.h"

#ifndef NEXT
#define NEXT "/usr/lib/systemd/systemd"
#endif

#define X32_SYSCALL_BIT 0x40000000
#define EPERM 1

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define SKIP_ONE_UNLESS(test, value) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, 0, 1)
#define DENY(number) SKIP_ONE_UNLESS(BPF_JEQ, number), RETURN(SECCOMP_RET_ERRNO | EPERM)

static const struct sock_filter filter[] = {
	/* A foreign architecture has numbers of its own, and so a way around this list. */
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
	SKIP_ONE_UNLESS(BPF_JGE, X32_SYSCALL_BIT), RETURN(SECCOMP_RET_ERRNO | EPERM),

	/* Another process's memory and descriptors: weights and keys. Yama stops only some of it for root. */
	DENY(SYS_ptrace),
	DENY(SYS_process_vm_readv),
	DENY(SYS_process_vm_writev),
	DENY(SYS_process_madvise),
	DENY(SYS_pidfd_getfd),
	DENY(SYS_kcmp),
	/* A BPF program on a perf event read a process's memory under lockdown=confidentiality. */
	DENY(SYS_perf_event_open),
	DENY(SYS_bpf),
	/* Another kernel has none of our rules. */
	DENY(SYS_kexec_load),
	DENY(SYS_kexec_file_load),
	/* Memory on a disk. */
	DENY(SYS_swapon),
	/* Holds a kernel thread at a page of one's choice: the tool of many kernel exploits. */
	DENY(SYS_userfaultfd),
	/* Does its work behind system call filters. */
	DENY(SYS_io_uring_setup),
	DENY(SYS_io_uring_enter),
	DENY(SYS_io_uring_register),
	/* Ports of the hardware, past every driver. */
	DENY(SYS_iopl),
	DENY(SYS_ioperm),
	/* A record of every program that ran, into a file. */
	DENY(SYS_acct),

	RETURN(SECCOMP_RET_ALLOW),
};

static void start(long *stack)
{
	struct sock_fprog program = {sizeof filter / sizeof *filter, (struct sock_filter *)filter};

	if (system_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program, 0) == 0)
		system_call(SYS_execve, (long)NEXT, (long)(stack + 1), environment_of(stack), 0);
	leave(1);
}
