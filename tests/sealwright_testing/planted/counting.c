/* A workload for the test image: counts the lines of a data set, tries what it must not, and writes down what came of it.
 *
 * It is run in two domains. One line each in the report: "rows NUMBER", and "ATTEMPT done" or "ATTEMPT ERRNO-NAME".
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define RUN "/run/sealwright"
#define COHORTS RUN "/data-sets/counting-job"
#define RESULTS "/var/lib/sealwright/results/"
#define OWN_HOST "10.0.2.100"
#define OTHER_HOST "10.0.2.101"
#define NAME_SERVER "10.0.2.3"
#define ECHO_PORT 7
/* Of the first packet of a connection: the kernel gives up after 1 + 2 + 4 s (tcp(7)). */
#define RETRIES 2
/* Four in a second: it starts before the box has a network. */
#define ROUTE_TRIES 400

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

/* Of a data set that came to the box. */
static void count_cohort(void)
{
	char cohort[64];
	int file = open(COHORTS "/cohort-7.csv/content", O_RDONLY);
	if (file < 0)
		tell("cohort", 1);
	else
		fprintf(report, "cohort %zd\n", read(file, cohort, sizeof cohort));
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

static struct sockaddr_in place(const char *host, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	address.sin_addr.s_addr = inet_addr(host);
	return address;
}

/* Whether what is sent by TCP does not come back. */
static int call(const char *host, int port)
{
	struct sockaddr_in address = place(host, port);
	int retries = RETRIES, client, failed;
	char word[] = "weights", back[sizeof word] = "";
	for (int tries = 0; tries < ROUTE_TRIES; tries++) {
		client = socket(AF_INET, SOCK_STREAM, 0);
		if (client < 0)
			return 1;
		setsockopt(client, IPPROTO_TCP, TCP_SYNCNT, &retries, sizeof retries);
		failed = connect(client, (struct sockaddr *)&address, sizeof address);
		if (!failed || errno != ENETUNREACH)
			break;
		close(client);
		usleep(250000);
	}
	if (failed || write(client, word, sizeof word) < 0)
		return 1;
	for (size_t got = 0; got < sizeof word;) {
		ssize_t length = read(client, back + got, sizeof word - got);
		if (length <= 0)
			return 1;
		got += length;
	}
	errno = EBADMSG;
	return strcmp(word, back);
}

/* Whether a datagram, or a message of ICMP, is not sent. */
static int cast(const char *host, int port, int protocol)
{
	struct sockaddr_in address = place(host, port);
	char echo[8] = {8};
	int client = socket(AF_INET, SOCK_DGRAM, protocol);
	return client < 0 || sendto(client, echo, sizeof echo, 0, (struct sockaddr *)&address, sizeof address) < 0;
}

static void reach(void)
{
	tell("call-own-host", call(OWN_HOST, ECHO_PORT));
	tell("cast-own-host", cast(OWN_HOST, ECHO_PORT, IPPROTO_UDP));
	tell("call-other-port", call(OWN_HOST, ECHO_PORT + 1));
	tell("cast-other-port", cast(OWN_HOST, ECHO_PORT + 1, IPPROTO_UDP));
	tell("call-other-host", call(OTHER_HOST, ECHO_PORT));
	tell("cast-other-host", cast(OTHER_HOST, ECHO_PORT, IPPROTO_UDP));
	tell("ask-name-server", cast(NAME_SERVER, 53, IPPROTO_UDP));
	tell("ask-resolver", cast("127.0.0.53", 53, IPPROTO_UDP));
	tell("echo-own-host", cast(OWN_HOST, 0, IPPROTO_ICMP));
	tell("call-box", call("127.0.0.1", ECHO_PORT));
	tell("ipv6", socket(AF_INET6, SOCK_STREAM, 0) < 0);
	tell("netlink", socket(AF_NETLINK, SOCK_RAW, 0) < 0);
}

static void tell_mount(const char *name, const char *path)
{
	struct statvfs found;
	if (statvfs(path, &found)) {
		tell(name, 1);
		return;
	}
	fprintf(report, "%s %s%s%s%s\n", name, found.f_flag & ST_RDONLY ? "ro" : "rw", found.f_flag & ST_NODEV ? " nodev" : "",
	        found.f_flag & ST_NOSUID ? " nosuid" : "", found.f_flag & ST_NOEXEC ? " noexec" : "");
}

/* Until it may not, and again at the next start. */
static void fill(void)
{
	static char block[65536];
	int file = open("filling", O_WRONLY | O_CREAT, 0600);
	while (write(file, block, sizeof block) > 0)
		;
	tell("fill", errno);
	close(file);
	unlink("filling");
}

static void nest(void)
{
	char path[64] = "";
	int depth = 0;
	while (depth < 20 && (!mkdir(strcat(path, "d"), 0700) || errno == EEXIST)) {
		depth++;
		strcat(path, "/");
	}
	fprintf(report, "nest %d %s\n", depth, strerrorname_np(errno));
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
	count_cohort();
	tell("change-cohort", open(COHORTS "/cohort-7.csv/content", O_WRONLY) < 0);
	tell("read-what-is-known-of-cohort", open(COHORTS "/cohort-7.csv/about.json", O_RDONLY) < 0);
	tell("read-model", open(RUN "/payloads/medical/model.gguf", O_RDONLY) < 0);
	tell("read-unread", open(RUN "/payloads/unread/rows.csv", O_RDONLY) < 0);
	tell("change-rows", open(RUN "/payloads/rows/rows.csv", O_WRONLY) < 0);
	tell("read-state", open("/var/lib/sealwright/leases", O_RDONLY) < 0);
	tell("read-keys", open("/usr/share/sealwright/manifest-key.pem", O_RDONLY) < 0);
	tell("read-box", open("/usr/lib/sealwright/bin/llama-server", O_RDONLY) < 0);
	reach();
	tell_mount("mounted-program", "/program");
	tell_mount("mounted-rows", RUN "/payloads/rows");
	tell_mount("mounted-cohorts", COHORTS);
	tell_mount("mounted-results", ".");
	tell_mount("mounted-scratch", "/tmp");
	tell("agent", open(RUN "/agent.sock", O_PATH) < 0);
	tell("link", symlink("/etc/passwd", "link"));
	copy_itself("copy");
	execute("run-own-copy", "./copy");
	execute("run-python", "/usr/bin/python3");
	execute("run-itself", own);
	nest();
	tell("change-date", setxattr("report.new", "trusted.sealwright.since", "0 0", 3, 0));
	fflush(report);
	fill();
	fclose(report);
	return rename("report.new", "report");
}
