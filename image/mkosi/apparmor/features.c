/* Prints the AppArmor features of the kernel that it is the first program of, then powers off.
 *
 * Compiled profiles lie in a folder that is named by a digest of these, and the kernel alone knows them. A line each:
 * "feature PATH HEX", then "features end".
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define FEATURES "/sys/kernel/security/apparmor/features"

static int show(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	static unsigned char text[65536];
	ssize_t length;
	int descriptor;

	(void)status;
	(void)place;
	if (kind != FTW_F)
		return 0;
	descriptor = open(path, O_RDONLY);
	length = read(descriptor, text, sizeof text);
	if (length < 0)
		return 1;
	printf("feature %s ", path + sizeof FEATURES);
	for (ssize_t i = 0; i < length; i++)
		printf("%02x", text[i]);
	printf("\n");
	return close(descriptor);
}

int main(void)
{
	mkdir("/sys", 0755);
	if (mount("sysfs", "/sys", "sysfs", 0, NULL) == 0 &&
	    mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL) == 0 &&
	    nftw(FEATURES, show, 8, FTW_PHYS) == 0)
		printf("features end\n");
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
