/* /init of the initrd in the control boot: no filter of system calls, and process 1 keeps all its capabilities.
 *
 * It stands in the place of image/mkosi/programs/init.c. systemd reads its configuration twice, in the initrd and in the
 * root, and moves /run along; so what is written there holds in both.
 */

#include <asm/fcntl.h>

#include "freestanding.h"

#define NEXT "/usr/lib/systemd/systemd"
#define FOLDER "/run/systemd/system.conf.d"

static const char configuration[] = "[Manager]\nCapabilityBoundingSet=~\n";

static void start(long *stack)
{
	long file;

	system_call(SYS_mkdir, (long)"/run", 0755, 0, 0);
	system_call(SYS_mount, (long)"tmpfs", (long)"/run", (long)"tmpfs", 0);
	system_call(SYS_chmod, (long)"/run", 0755, 0, 0);
	system_call(SYS_mkdir, (long)"/run/systemd", 0755, 0, 0);
	system_call(SYS_mkdir, (long)FOLDER, 0755, 0, 0);
	file = system_call(SYS_open, (long)FOLDER "/99-disarmed.conf", O_WRONLY | O_CREAT, 0644, 0);
	system_call(SYS_write, file, (long)configuration, sizeof configuration - 1, 0);
	system_call(SYS_close, file, 0, 0, 0);
	system_call(SYS_execve, (long)NEXT, (long)(stack + 1), environment_of(stack), 0);
	leave(1);
}
