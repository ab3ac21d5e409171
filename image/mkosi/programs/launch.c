/* sealwright-launch RULES PROGRAM ARGUMENT...: takes rights from itself by Landlock rules, then becomes the program.
 *
 * The rules are compiled from the security domain (policies/spec/domain.md, 7). Every right of the ABI is handled, so that
 * what no rule grants is refused; nobody lifts that again. Where anything is amiss, the program does not start.
 */

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/landlock.h>
#include <linux/prctl.h>

#include "freestanding.h"

#ifndef ABI
#define ABI 6
#endif
#define MOST 16384
/* As of env(1) and chroot(1): of the launcher itself, and of a program that cannot be executed. */
#define REFUSED 125
#define NOT_EXECUTED 126

#define RIGHT(name, NAME) {name, LANDLOCK_ACCESS_FS_##NAME}

struct right {
	const char *name;
	__u64 bit;
};

static const struct right rights[] = {
	RIGHT("execute", EXECUTE),
	RIGHT("write_file", WRITE_FILE),
	RIGHT("read_file", READ_FILE),
	RIGHT("read_dir", READ_DIR),
	RIGHT("remove_dir", REMOVE_DIR),
	RIGHT("remove_file", REMOVE_FILE),
	RIGHT("make_char", MAKE_CHAR),
	RIGHT("make_dir", MAKE_DIR),
	RIGHT("make_reg", MAKE_REG),
	RIGHT("make_sock", MAKE_SOCK),
	RIGHT("make_fifo", MAKE_FIFO),
	RIGHT("make_block", MAKE_BLOCK),
	RIGHT("make_sym", MAKE_SYM),
	RIGHT("refer", REFER),
	RIGHT("truncate", TRUNCATE),
	RIGHT("ioctl_dev", IOCTL_DEV),
};
#define RIGHTS (sizeof rights / sizeof *rights)

static char text[MOST + 1];
static char *cursor = text;
static int line_has_ended;

static long length_of(const char *string)
{
	long length = 0;
	while (string[length])
		length++;
	return length;
}

static int equal(const char *one, const char *other)
{
	while (*one && *one == *other) {
		one++;
		other++;
	}
	return *one == *other;
}

static void tell(const char *words)
{
	system_call(SYS_write, 2, (long)words, length_of(words), 0);
}

__attribute__((noreturn)) static void refuse(const char *what, const char *which, long status)
{
	tell("sealwright-launch: ");
	tell(what);
	tell(which);
	tell("\n");
	leave(status);
}

static void load(const char *path)
{
	long length = 0, got;
	long file = system_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
	if (file < 0)
		refuse("there are no rules at ", path, REFUSED);
	while ((got = system_call(SYS_read, file, (long)(text + length), MOST - length, 0)) > 0)
		length += got;
	if (got < 0 || length == 0 || length == MOST || length_of(text) != length || text[length - 1] != '\n')
		refuse("these are no rules: ", path, REFUSED);
	system_call(SYS_close, file, 0, 0, 0);
}

/* The next word of the line, or null behind the last one. Words are one space apart. */
static char *next_word(void)
{
	char *word = cursor;
	if (line_has_ended)
		return 0;
	while (*cursor != ' ' && *cursor != '\n')
		cursor++;
	line_has_ended = *cursor == '\n';
	*cursor++ = 0;
	return word;
}

static char *demanded_word(const char *rule)
{
	char *word = next_word();
	if (!word || !*word)
		refuse("a word is missing in a rule of the kind ", rule, REFUSED);
	return word;
}

static __u64 number(const char *digits)
{
	__u64 value = 0;
	const char *digit = digits;
	for (; *digit; digit++) {
		if (*digit < '0' || *digit > '9' || digit - digits >= 5)
			refuse("this is no number: ", digits, REFUSED);
		value = value * 10 + (__u64)(*digit - '0');
	}
	return value;
}

static __u64 right_of(const char *name)
{
	for (unsigned long index = 0; index < RIGHTS; index++)
		if (equal(rights[index].name, name))
			return rights[index].bit;
	refuse("this is no right: ", name, REFUSED);
}

static void grant_path(long ruleset)
{
	struct landlock_path_beneath_attr rule = {0, -1};
	char *path = demanded_word("path");
	char *name;
	while ((name = next_word()))
		rule.allowed_access |= right_of(name);
	long place = system_call(SYS_openat, AT_FDCWD, (long)path, O_PATH | O_CLOEXEC, 0);
	if (place == -ENOENT)
		return;
	rule.parent_fd = (__s32)place;
	if (place < 0 || system_call(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, (long)&rule, 0) < 0)
		refuse("a rule is not taken, of the path ", path, REFUSED);
	system_call(SYS_close, place, 0, 0, 0);
}

static void grant_port(long ruleset)
{
	char *port = demanded_word("connect_tcp");
	struct landlock_net_port_attr rule = {LANDLOCK_ACCESS_NET_CONNECT_TCP, number(port)};
	if (system_call(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_NET_PORT, (long)&rule, 0) < 0)
		refuse("a rule is not taken, of the port ", port, REFUSED);
}

/* The first line, which says what the rest was written for. */
static void demand_abi(void)
{
	if (!equal(demanded_word("abi"), "abi") || number(demanded_word("abi")) != ABI || next_word())
		refuse("these rules are for another ABI than that of this launcher", "", REFUSED);
	if (system_call(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0) < ABI)
		refuse("the kernel has no Landlock, or an older one than the rules are for", "", REFUSED);
}

static long empty_ruleset(void)
{
	struct landlock_ruleset_attr handled = {
		0,
		LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP,
		LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL,
	};
	for (unsigned long index = 0; index < RIGHTS; index++)
		handled.handled_access_fs |= rights[index].bit;
	long ruleset = system_call(SYS_landlock_create_ruleset, (long)&handled, sizeof handled, 0, 0);
	if (ruleset < 0)
		refuse("the kernel makes no ruleset", "", REFUSED);
	return ruleset;
}

static void confine(const char *path)
{
	load(path);
	demand_abi();
	long ruleset = empty_ruleset();
	while (*cursor) {
		line_has_ended = 0;
		char *kind = next_word();
		if (equal(kind, "path"))
			grant_path(ruleset);
		else if (equal(kind, "connect_tcp"))
			grant_port(ruleset);
		else
			refuse("this is no rule: ", kind, REFUSED);
		if (next_word())
			refuse("a word too many in a rule of the kind ", kind, REFUSED);
	}
	if (system_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0) < 0 ||
	    system_call(SYS_landlock_restrict_self, ruleset, 0, 0, 0) < 0)
		refuse("the kernel does not take the rules", "", REFUSED);
	system_call(SYS_close, ruleset, 0, 0, 0);
}

static void start(long *stack)
{
	char **arguments = (char **)(stack + 1);
	if (stack[0] < 3)
		refuse("call it as sealwright-launch RULES PROGRAM ARGUMENT...", "", REFUSED);
	confine(arguments[1]);
	system_call(SYS_execve, (long)arguments[2], (long)(arguments + 2), environment_of(stack), 0);
	refuse("cannot execute ", arguments[2], NOT_EXECUTED);
}
