/* A workload for the test image: counts the lines of a data set, tries what it must not, and writes down what came of it.
 *
 * It is run in two domains. One line each in the report: "rows NUMBER", and "ATTEMPT done" or "ATTEMPT ERRNO-NAME".
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN "/run/sealwright"
#define RESULTS "/var/lib/sealwright/results/"

static const char *const domains[] = {"counting-job", "strangers"};

static FILE *report;

static void tell(const char *attempt, int failed)
{
	fprintf(report, "%s %s\n", attempt, failed ? strerrorname_np(errno) : "done");
}

static int enter(int domain)
{
	char place[PATH_MAX];
	snprintf(place, sizeof place, RESULTS "%s", domains[domain]);
	return chdir(place);
}

static void count(void)
{
	FILE *rows = fopen(RUN "/payloads/rows/rows.csv", "r");
	int character, lines = 0;
	if (!rows) {
		tell("rows", 1);
		return;
	}
	while ((character = getc(rows)) != EOF)
		lines += character == '\n';
	fprintf(report, "rows %d\n", lines);
}

static void copy_itself(const char *target)
{
	char block[65536];
	ssize_t length;
	int from = open("/proc/self/exe", O_RDONLY), to = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	while ((length = read(from, block, sizeof block)) > 0)
		if (write(to, block, length) != length)
			break;
	close(from);
	close(to);
}

/* In a child; what it could not do is its exit status. */
static void execute(const char *attempt, const char *program)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		execl(program, program, "again", (char *)0);
		_exit(errno);
	}
	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status);
	tell(attempt, errno != 0);
}

int main(int argc, char **argv)
{
	char own[PATH_MAX] = "";
	(void)argv;
	if (argc > 1)
		return 0;
	if (enter(0) && enter(1))
		return 1;
	report = fopen("report.new", "w");
	if (!report || readlink("/proc/self/exe", own, sizeof own - 1) < 0)
		return 1;
	tell("enter-results-of-counting-job", enter(0));
	tell("enter-results-of-strangers", enter(1));
	count();
	tell("read-model", open(RUN "/payloads/medical/model.gguf", O_RDONLY) < 0);
	tell("read-unread", open(RUN "/payloads/unread/rows.csv", O_RDONLY) < 0);
	tell("change-rows", open(RUN "/payloads/rows/rows.csv", O_WRONLY) < 0);
	tell("read-state", open("/var/lib/sealwright/leases", O_RDONLY) < 0);
	tell("read-keys", open("/usr/share/sealwright/manifest-key.pem", O_RDONLY) < 0);
	tell("read-box", open("/usr/lib/sealwright/bin/llama-server", O_RDONLY) < 0);
	tell("network", socket(AF_INET, SOCK_STREAM, 0) < 0);
	tell("agent", open(RUN "/agent.sock", O_PATH) < 0);
	tell("link", symlink("/etc/passwd", "link"));
	copy_itself("copy");
	execute("run-own-copy", "./copy");
	execute("run-python", "/usr/bin/python3");
	execute("run-itself", own);
	fclose(report);
	return rename("report.new", "report");
}
